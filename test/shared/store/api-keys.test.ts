import postgres from "postgres";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { TenantId } from "../../../shared/contracts/ids.ts";
import {
  findPrincipal,
  newApiKey,
  revokeApiKey,
  saveApiKey,
} from "../../../shared/store/tenants/api-keys.ts";
import type { Sql } from "../../../shared/store/sql.ts";
import { testConnection } from "../../services/databases.ts";
import { freshDatabase } from "../../services/services.ts";

let sql: Sql;
beforeAll(async () => {
  sql = postgres(await freshDatabase(), { ...testConnection, max: 2 });
});
afterAll(() => sql.end());

describe("an API key", () => {
  test("is stored as its digest only, with its tenant and its scopes", async () => {
    const key = newApiKey();
    const tenant = TenantId.parse("acme");
    const keyId = await saveApiKey(sql, key, { tenant, name: "CI", scopes: ["runs:read", "runs:write"] });
    expect(await findPrincipal(sql, key)).toEqual({
      key_id: keyId,
      tenant,
      scopes: ["runs:read", "runs:write"],
      expires_in_ms: null,
    });
    const [row] = await sql`select * from api_keys where key_id = ${keyId}`;
    expect(JSON.stringify(row)).not.toContain(key.slice(13));
    expect(row?.prefix).toBe(key.slice(0, 12));
  });

  test("can have no scopes and no tenant", async () => {
    const key = newApiKey();
    await saveApiKey(sql, key, { tenant: null, name: "", scopes: [] });
    expect(await findPrincipal(sql, key)).toMatchObject({ tenant: null, scopes: [] });
  });

  test("stays unchanged when it is saved again", async () => {
    const key = newApiKey();
    const first = await saveApiKey(sql, key, { tenant: null, name: "", scopes: ["admin"] });
    expect(await saveApiKey(sql, key, { tenant: null, name: "other", scopes: [] })).toBe(first);
    expect(await findPrincipal(sql, key)).toMatchObject({ scopes: ["admin"] });
  });

  test("has no principal when it is unknown, revoked or expired", async () => {
    expect(await findPrincipal(sql, newApiKey())).toBe(null);
    const revoked = newApiKey();
    const keyId = await saveApiKey(sql, revoked, { tenant: null, name: "", scopes: ["admin"] });
    expect([await revokeApiKey(sql, keyId), await revokeApiKey(sql, keyId)]).toEqual([true, false]);
    expect(await findPrincipal(sql, revoked)).toBe(null);
    const expired = newApiKey();
    const expiresAt = new Date(Date.now() - 1_000);
    await saveApiKey(sql, expired, { tenant: null, name: "", scopes: ["admin"], expiresAt });
    expect(await findPrincipal(sql, expired)).toBe(null);
  });
});
