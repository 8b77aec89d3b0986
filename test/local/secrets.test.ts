import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openSecrets } from "../../local/settings/secrets.ts";
import { masterKey } from "../../shared/security/master-keys.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "synapse-secrets-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const file = () => join(folder, "secrets.json");

// Fails when a start creates new secrets although there are some: sealed values would never open again.
test("the secrets of a data folder are created once, readable by its owner only", () => {
  const secrets = openSecrets(folder);
  expect(masterKey().safeParse(secrets.master_key).success).toBe(true);
  expect(openSecrets(folder)).toEqual(secrets);
  expect(statSync(file()).mode & 0o777).toBe(0o600);
});

// Fails when a folder of an older version does not start, or gets a new secret at each start.
test.each(["master_key", "metrics_token"] as const)(
  "a folder without a %s gets one once, and keeps its other secrets",
  (name) => {
    const { [name]: _none, ...before } = openSecrets(folder);
    writeFileSync(file(), JSON.stringify(before));
    const after = openSecrets(folder);
    expect(after).toMatchObject(before);
    expect(openSecrets(folder)).toEqual(after);
    expect(readFileSync(file(), "utf8")).toContain(after[name]);
  },
);
