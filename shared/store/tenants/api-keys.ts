import { digestOf } from "../../bytes.ts";
import { randomHex } from "../../contracts/ids.ts";
import type { TenantId } from "../../contracts/ids.ts";
import { Principal } from "../../contracts/tenant.ts";
import type { Scope } from "../../contracts/tenant.ts";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";

export type NewKey = {
  /** Null: a platform key. */
  tenant: TenantId | null;
  name: string;
  scopes: readonly Scope[];
  expiresAt?: Date;
};

/** A new key. The store keeps only its digest, so it cannot be read again. */
export function newApiKey(): string {
  return `sk-syn-${randomHex(32)}`;
}

/**
 * Stores a key. A key that is stored already stays unchanged.
 * @returns its public id
 */
export async function saveApiKey(
  sql: Sql,
  key: string,
  { tenant, name, scopes, expiresAt }: NewKey,
): Promise<string> {
  const keyId = `key_${randomHex(8)}`;
  const [row] = await sql<{ key_id: string }[]>`
    insert into api_keys as k (key_hash, key_id, tenant_id, name, prefix, scopes, expires_at)
    values (decode(${await digestOf("SHA-256", key)}, 'hex'), ${keyId}, ${tenant}, ${name}, ${key.slice(0, 12)},
            string_to_array(${scopes.join(",")}, ','), ${expiresAt ?? null})
    on conflict (key_hash) do update set name = k.name
    returning key_id`;
  return row?.key_id ?? keyId;
}

/** The principal of a key; null when the key is unknown, revoked or expired. */
export async function findPrincipal(sql: Sql, key: string): Promise<Principal | null> {
  const [row] = await sql`
    select key_id, tenant_id as tenant, array_to_json(scopes) as scopes from api_keys
    where key_hash = decode(${await digestOf("SHA-256", key)}, 'hex')
      and revoked_at is null and (expires_at is null or expires_at > now())`;
  return row ? Principal.parse(row) : null;
}

/** Those of the keys that are neither revoked nor expired. */
export async function findValidKeys(sql: Sql, keyIds: readonly string[]): Promise<Set<string>> {
  const rows = await sql<{ key_id: string }[]>`
    select key_id from api_keys
    where key_id = any(${pgArray(keyIds)}::text[])
      and revoked_at is null and (expires_at is null or expires_at > now())`;
  return new Set(rows.map(({ key_id }) => key_id));
}

/**
 * Revokes a key. Processes that have cached its principal refuse it within 30 s, and open streams end within 30 s.
 * @returns false when there is no such key, or it is revoked already
 */
export async function revokeApiKey(sql: Sql, keyId: string): Promise<boolean> {
  const rows =
    await sql`update api_keys set revoked_at = now() where key_id = ${keyId} and revoked_at is null returning 1`;
  return rows.length > 0;
}
