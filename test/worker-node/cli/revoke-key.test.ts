import postgres from "postgres";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Sql } from "../../../shared/store/sql.ts";
import { testConnection } from "../../services/databases.ts";
import { findPrincipal, newApiKey, saveApiKey } from "../../../shared/store/tenants/api-keys.ts";
import { freshDatabase } from "../../services/services.ts";
import { runProgram } from "./run-program.ts";

let url: string;
let sql: Sql;
beforeAll(async () => {
  url = await freshDatabase();
  sql = postgres(url, { ...testConnection, max: 1 });
});
afterAll(() => sql.end());

const revokeKey = (...words: string[]) => runProgram("revoke-key.ts", { SCALE_POSTGRES_URL: url }, words);

test("a key is revoked by its id, and no other key is", async () => {
  const [key, other] = [newApiKey(), newApiKey()];
  const save = (value: string) =>
    saveApiKey(sql, value, { tenant: null, name: "ops", scopes: ["runs:read"] });
  const keyId = await save(key);
  await save(other);
  expect(await revokeKey(keyId)).toEqual({ stdout: `${keyId} is revoked.\n`, stderr: "", code: 0 });
  expect([await findPrincipal(sql, key), (await findPrincipal(sql, other))?.scopes]).toEqual([
    null,
    ["runs:read"],
  ]);
  expect(await revokeKey(keyId)).toMatchObject({
    code: 1,
    stderr: expect.stringContaining("revoked already"),
  });
});

test.each([[], ["acme"], ["key_0123456789abcdef", "acme"]])(
  "without one id it changes nothing: %j",
  async (...words) => {
    const { code, stderr } = await revokeKey(...words);
    expect(code).toBe(1);
    expect(stderr).toContain("npm run revoke-key");
  },
);
