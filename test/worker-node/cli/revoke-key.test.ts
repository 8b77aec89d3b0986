import { spawn } from "node:child_process";
import { text } from "node:stream/consumers";
import postgres from "postgres";
import { afterAll, beforeAll, expect, test } from "vitest";
import { nodeProgram } from "../../../local/processes/programs.ts";
import type { Sql } from "../../../shared/store/sql.ts";
import { testConnection } from "../../services/databases.ts";
import { findPrincipal, newApiKey, saveApiKey } from "../../../shared/store/tenants/api-keys.ts";
import { freshDatabase } from "../../services/services.ts";

let url: string;
let sql: Sql;
beforeAll(async () => {
  url = await freshDatabase();
  sql = postgres(url, { ...testConnection, max: 1 });
});
afterAll(() => sql.end());

async function revokeKey(...words: string[]) {
  const { command, args, env } = nodeProgram("worker-node/cli/revoke-key.ts", { SCALE_POSTGRES_URL: url });
  const child = spawn(command, [...args, ...words], { env });
  const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
  const [stdout, stderr, code] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
  return { stdout, stderr, code };
}

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

test.each([[], ["acme"], ["key_0123456789abcdef", "more"]])(
  "without one id it changes nothing: %j",
  async (...words) => {
    const { code, stderr } = await revokeKey(...words);
    expect(code).toBe(1);
    expect(stderr).toContain("npm run revoke-key");
  },
);
