import { z } from "zod";
import { digestOf } from "../../text/bytes.ts";
import { TenantId, randomHex } from "../../contracts/ids.ts";
import { Principal, Scope } from "../../contracts/tenant.ts";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";

/** A key to store. Without `expiresAt` it does not expire. */
export type NewKey = {
  /** Null: a platform key. */
  tenant: TenantId | null;
  name: string;
  scopes: readonly Scope[];
  expiresAt?: Date;
};

/** Makes a key. The store keeps only its digest, so the key cannot be read again. */
export function newApiKey(): string {
  return `sk-syn-${randomHex(32)}`;
}

function newKeyId(): string {
  return `key_${randomHex(8)}`;
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
  const keyId = newKeyId();
  const [row] = await sql<{ key_id: string }[]>`
    insert into api_keys as k (key_hash, key_id, tenant_id, name, prefix, scopes, expires_at)
    values (decode(${await digestOf("SHA-256", key)}, 'hex'), ${keyId}, ${tenant}, ${name}, ${key.slice(0, 12)},
            string_to_array(${scopes.join(",")}, ','), ${expiresAt ?? null})
    on conflict (key_hash) do update set name = k.name
    returning key_id`;
  return row?.key_id ?? keyId;
}

/**
 * Stores a new key for the key `by`. A process that has cached the principal of `by` serves it for 30 s after its revocation: the keys
 * that it makes do not outlive it so.
 * @returns null: `by` is revoked or has expired
 */
export async function insertApiKey(
  sql: Sql,
  key: string,
  { tenant, name, scopes, expiresAt }: NewKey,
  by: string,
): Promise<KeyRow | null> {
  const [row] = await sql`
    insert into api_keys (key_hash, key_id, tenant_id, name, prefix, scopes, expires_at)
    select decode(${await digestOf("SHA-256", key)}, 'hex'), ${newKeyId()}, ${tenant}, ${name}, ${key.slice(0, 12)},
      string_to_array(${scopes.join(",")}, ','), ${expiresAt ?? null}::timestamptz
    where ${isValid(sql, by)}
    returning ${columns(sql)}`;
  return row ? KeyRow.parse(row) : null;
}

/** The condition that a key is valid. It locks the key: a revocation waits for the statement, or comes first and is seen. */
function isValid(sql: Sql, keyId: string) {
  return sql`exists (
    select from api_keys v
    where v.key_id = ${keyId} and v.revoked_at is null and (v.expires_at is null or v.expires_at > now())
    for no key update)`;
}

/** A principal, and for how long its key is valid by Postgres' clock; null: it does not expire. */
const FoundPrincipal = Principal.extend({ expires_in_ms: z.number().nullable() });
type FoundPrincipal = z.infer<typeof FoundPrincipal>;

/** The principal of a key; null when the key is unknown, revoked or expired. */
export async function findPrincipal(sql: Sql, key: string): Promise<FoundPrincipal | null> {
  const [row] = await sql`
    select key_id, tenant_id as tenant, array_to_json(scopes) as scopes,
      extract(epoch from expires_at - now())::float8 * 1000 as expires_in_ms
    from api_keys
    where key_hash = decode(${await digestOf("SHA-256", key)}, 'hex')
      and revoked_at is null and (expires_at is null or expires_at > now())`;
  return row ? FoundPrincipal.parse(row) : null;
}

/** Those of the keys that are neither revoked nor expired. */
export async function findValidKeys(sql: Sql, keyIds: readonly string[]): Promise<Set<string>> {
  const rows = await sql<{ key_id: string }[]>`
    select key_id from api_keys
    where key_id = any(${pgArray(keyIds)}::text[])
      and revoked_at is null and (expires_at is null or expires_at > now())`;
  return new Set(rows.map(({ key_id }) => key_id));
}

/** A key as its administrators see it: never the key itself. */
const KeyRow = z.object({
  key_id: z.string(),
  tenant_id: TenantId.nullable(),
  name: z.string(),
  prefix: z.string(),
  scopes: z.array(Scope),
  created_us: z.number(),
  expires_at_ms: z.number().nullable(),
  revoked_at_ms: z.number().nullable(),
  last_used_at_ms: z.number().nullable(),
  rotated_to: z.string().nullable(),
  status: z.enum(["valid", "expired", "revoked"]),
});
export type KeyRow = z.infer<typeof KeyRow>;

const columns = (sql: Sql) => sql`
  key_id, tenant_id, name, prefix, array_to_json(scopes) as scopes, rotated_to,
  (extract(epoch from created_at) * 1000000)::float8 as created_us,
  extract(epoch from expires_at)::float8 * 1000 as expires_at_ms,
  extract(epoch from revoked_at)::float8 * 1000 as revoked_at_ms,
  extract(epoch from last_used_at)::float8 * 1000 as last_used_at_ms,
  case when revoked_at is not null then 'revoked' when expires_at <= now() then 'expired' else 'valid' end as status`;

/**
 * A page of keys, the newest first.
 * @param tenant null: of all tenants and of the platform
 * @param before the last key of the page before; null: the first page
 */
export async function listApiKeys(
  sql: Sql,
  tenant: TenantId | null,
  before: Pick<KeyRow, "created_us" | "key_id"> | null,
  limit: number,
): Promise<KeyRow[]> {
  const rows = await sql`
    select ${columns(sql)} from api_keys
    where ${tenant === null ? sql`true` : sql`tenant_id = ${tenant}`}
      ${
        before === null
          ? sql``
          : sql`and (created_at, key_id) < (
              timestamptz 'epoch' + ${before.created_us}::float8 * interval '1 microsecond', ${before.key_id})`
      }
    order by created_at desc, key_id desc limit ${limit}`;
  return rows.map((row) => KeyRow.parse(row));
}

/** The number of a tenant's keys (null: the platform's) that are neither revoked nor expired. */
export async function countValidKeys(sql: Sql, tenant: TenantId | null): Promise<number> {
  const [row] = await sql<{ n: number }[]>`
    select count(*)::int as n from api_keys
    where ${tenant === null ? sql`tenant_id is null` : sql`tenant_id = ${tenant}`}
      and revoked_at is null and (expires_at is null or expires_at > now())`;
  return row?.n ?? 0;
}

/** One key; null when that tenant (null: any tenant, and the platform) has no such key. */
export async function readApiKey(sql: Sql, tenant: TenantId | null, keyId: string): Promise<KeyRow | null> {
  const [row] = await sql`
    select ${columns(sql)} from api_keys
    where key_id = ${keyId} and (${tenant}::text is null or tenant_id = ${tenant})`;
  return row ? KeyRow.parse(row) : null;
}

/**
 * Stores a key that replaces another one, for the key `by`: with its tenant, name, scopes and expiry. The old key stays valid for
 * `overlapSeconds`. Of several rotations of one key at the same time one succeeds.
 * @returns the new key; null when the old one is unknown, revoked, expired, or was rotated before, or `by` is not valid
 */
export async function rotateApiKey(
  sql: Sql,
  oldKeyId: string,
  key: string,
  overlapSeconds: number,
  by: string,
): Promise<KeyRow | null> {
  const [row] = await sql`
    with old as (
      select * from api_keys
      where key_id = ${oldKeyId} and rotated_to is null
        and revoked_at is null and (expires_at is null or expires_at > now()) and ${isValid(sql, by)}
      for update
    ), made as (
      insert into api_keys (key_hash, key_id, tenant_id, name, prefix, scopes, expires_at)
      select decode(${await digestOf("SHA-256", key)}, 'hex'), ${newKeyId()}, tenant_id, name, ${key.slice(0, 12)}, scopes,
        expires_at from old
      returning *
    ), replaced as (
      update api_keys k set rotated_to = made.key_id,
        expires_at = least(k.expires_at, now() + ${overlapSeconds} * interval '1 second')
      from made where k.key_id = ${oldKeyId}
    )
    select ${columns(sql)} from made`;
  return row ? KeyRow.parse(row) : null;
}

/** Records that keys were used: at most once a minute for each key, however many processes report it. */
export async function markKeysUsed(sql: Sql, keyIds: readonly string[]): Promise<void> {
  await sql`
    update api_keys set last_used_at = now()
    where key_id = any(${pgArray(keyIds)}::text[])
      and (last_used_at is null or last_used_at < now() - interval '1 minute')`;
}

/**
 * Revokes a key. Within 30 s all processes refuse it, also those that have cached its principal, and its open streams end.
 * @param tenant the tenant that the key must belong to; null: any tenant, or the platform
 * @returns false when there is no such key, or it is revoked already
 */
export async function revokeApiKey(
  sql: Sql,
  keyId: string,
  tenant: TenantId | null = null,
): Promise<boolean> {
  const rows = await sql`
    update api_keys set revoked_at = now()
    where key_id = ${keyId} and revoked_at is null and (${tenant}::text is null or tenant_id = ${tenant}) returning 1`;
  return rows.length > 0;
}
