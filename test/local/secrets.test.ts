import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openSecrets } from "../../local/settings/secrets.ts";
import { masterKey } from "../../shared/seal.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "synapse-secrets-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const file = () => join(folder, "secrets.json");

// Red when: a start makes other secrets than the one before: what was sealed would never open again.
test("the secrets of a data folder are made once, for its owner alone", () => {
  const secrets = openSecrets(folder);
  expect(masterKey().safeParse(secrets.master_key).success).toBe(true);
  expect(openSecrets(folder)).toEqual(secrets);
  expect(statSync(file()).mode & 0o777).toBe(0o600);
});

// Red when: a folder of before there was one of them does not start, or gets another one each time.
test.each(["master_key", "metrics_token"] as const)(
  "a folder that has no %s yet gets one, once, and keeps the rest",
  (name) => {
    const { [name]: _none, ...before } = openSecrets(folder);
    writeFileSync(file(), JSON.stringify(before));
    const after = openSecrets(folder);
    expect(after).toMatchObject(before);
    expect(openSecrets(folder)).toEqual(after);
    expect(readFileSync(file(), "utf8")).toContain(after[name]);
  },
);
