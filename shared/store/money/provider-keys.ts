import { z } from "zod";
import { KeyProvider } from "../../contracts/provider-key.ts";
import type { TenantId } from "../../contracts/ids.ts";
import type { Sql } from "../sql.ts";

/** The key of a tenant at a provider, without the key itself. */
const ProviderKeyRow = z.object({
  provider: KeyProvider,
  base_url: z.string().nullable(),
  created_at_ms: z.number(),
  updated_at_ms: z.number(),
});
export type ProviderKeyRow = z.infer<typeof ProviderKeyRow>;

/** A key as a worker gets it, of a provider that the worker may not know. `api_key` is sealed for `providerKeyPlace`. */
export const SealedProviderKey = z.object({
  provider: z.string(),
  api_key: z.string(),
  base_url: z.string().nullable(),
});
export type SealedProviderKey = z.infer<typeof SealedProviderKey>;

const columns = (sql: Sql) => sql`
  provider, base_url, extract(epoch from created_at)::float8 * 1000 as created_at_ms,
  extract(epoch from updated_at)::float8 * 1000 as updated_at_ms`;

/** The keys of a tenant, by provider: at most one of each. */
export async function listProviderKeys(sql: Sql, tenant: TenantId): Promise<ProviderKeyRow[]> {
  const rows =
    await sql`select ${columns(sql)} from provider_keys where tenant_id = ${tenant} order by provider`;
  return z.array(ProviderKeyRow).parse(rows);
}

/** The key of a tenant at a provider; null: the tenant has none there. */
export async function findProviderKey(
  sql: Sql,
  tenant: TenantId,
  provider: KeyProvider,
): Promise<ProviderKeyRow | null> {
  const [row] = await sql`
    select ${columns(sql)} from provider_keys where tenant_id = ${tenant} and provider = ${provider}`;
  return row ? ProviderKeyRow.parse(row) : null;
}

/** Saves a key in place of the one that the tenant had at the provider. */
export async function saveProviderKey(
  sql: Sql,
  tenant: TenantId,
  { provider, api_key, base_url }: SealedProviderKey,
): Promise<ProviderKeyRow> {
  const [row] = await sql`
    insert into provider_keys (tenant_id, provider, api_key, base_url)
    values (${tenant}, ${provider}, ${api_key}, ${base_url})
    on conflict (tenant_id, provider) do update set api_key = excluded.api_key, base_url = excluded.base_url, updated_at = now()
    returning ${columns(sql)}`;
  return ProviderKeyRow.parse(row);
}

/** Deletes the key of a tenant at a provider. @returns false: the tenant had none */
export async function deleteProviderKey(sql: Sql, tenant: TenantId, provider: KeyProvider): Promise<boolean> {
  const { count } = await sql`
    delete from provider_keys where tenant_id = ${tenant} and provider = ${provider}`;
  return count > 0;
}

/** The sealed keys of a tenant, for the model calls of its runs. */
export async function readProviderKeys(sql: Sql, tenant: TenantId): Promise<SealedProviderKey[]> {
  const rows = await sql`select provider, api_key, base_url from provider_keys where tenant_id = ${tenant}`;
  return z.array(SealedProviderKey).parse(rows);
}
