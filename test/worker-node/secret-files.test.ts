import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { secretNames } from "../../edge/env.ts";
import { MAX_SECRET_BYTES, readSecretFiles, secretVariables } from "../../worker-node/secret-files.ts";

const dir = mkdtempSync(join(tmpdir(), "synapse-secret-files-"));
afterAll(() => rmSync(dir, { recursive: true }));

function fileOf(text: string): string {
  const file = join(dir, String(Math.random()));
  writeFileSync(file, text);
  return file;
}

test("a secret's NAME_FILE gives NAME the text of the file, without the white space around it", () => {
  const env = { MASTER_KEY_FILE: fileOf("c2VjcmV0\n"), METRICS_TOKEN: "t0ken", REDIS_URL_FILE: "" };
  readSecretFiles(env);
  expect(env).toEqual({ MASTER_KEY: "c2VjcmV0", METRICS_TOKEN: "t0ken" });
});

// compose.yaml gives a variable that .env does not name as an empty one.
test("an empty variable is not set beside its file", () => {
  const env = { MASTER_KEY: "", MASTER_KEY_FILE: fileOf("c2VjcmV0") };
  readSecretFiles(env);
  expect(env).toEqual({ MASTER_KEY: "c2VjcmV0" });
});

// Fails when a change of one of the two has no effect, and nobody is told.
test("a secret that is set as a variable and as a file stops the start, and so does a file without a secret", () => {
  const env = {
    STREAM_TOKEN_SECRET: "hunter2",
    STREAM_TOKEN_SECRET_FILE: fileOf("hunter3"),
    REDIS_URL_FILE: join(dir, "absent"),
    SMTP_URL_FILE: fileOf(" \n"),
    OPENAI_API_KEY_FILE: fileOf("x".repeat(MAX_SECRET_BYTES + 1)),
  };
  expect(() => readSecretFiles(env)).toThrow(
    new Error(
      [
        "REDIS_URL_FILE must name a file that can be read: ENOENT",
        "STREAM_TOKEN_SECRET and STREAM_TOKEN_SECRET_FILE are both set: leave one of them out",
        "SMTP_URL_FILE names an empty file",
        "OPENAI_API_KEY_FILE names a file of more than 65536 bytes, which is no secret",
      ].join("\n"),
    ),
  );
});

// Fails when a secret that was written in the place of its file's name comes into the log.
test("a NAME_FILE with the secret itself is not quoted", () => {
  expect(() => readSecretFiles({ OPENAI_API_KEY_FILE: "sk-hunter2" })).toThrow(
    new Error("OPENAI_API_KEY_FILE must name a file that can be read: ENOENT"),
  );
});

test("each secret that the API masks may be a file, and no variable of another program is taken for one", () => {
  expect(secretVariables).toEqual(expect.arrayContaining([...secretNames]));
  const env = { SSL_CERT_FILE: "/etc/ssl/cert.pem", AWS_WEB_IDENTITY_TOKEN_FILE: "/var/run/token" };
  readSecretFiles(env);
  expect(env).toEqual({ SSL_CERT_FILE: "/etc/ssl/cert.pem", AWS_WEB_IDENTITY_TOKEN_FILE: "/var/run/token" });
});
