import { z } from "zod";
import type { TenantId } from "../../contracts/ids.ts";
import { SHARED } from "../../contracts/tenant.ts";
import type { Owner } from "../../contracts/tenant.ts";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";

/** An MCP server as it is stored. `listing`: its tools as JSON text; null: this version was never listed. `age_ms`: the age of the listing. */
export const StoredMcpServer = z.object({
  id: z.string(),
  owner: z.string(),
  version: z.number().int(),
  definition: z.string(),
  listing: z.string().nullable(),
  age_ms: z.number().nullable(),
});
export type StoredMcpServer = z.infer<typeof StoredMcpServer>;

/** The tenant's own MCP server, else the shared one with that name. Null when there is neither. */
export async function readMcpServer(sql: Sql, tenant: TenantId, id: string): Promise<StoredMcpServer | null> {
  const [row] = await sql`
    select id, tenant_id as owner, version, definition,
      case when listed_version = version then listing end as listing,
      case when listed_version = version then extract(epoch from now() - listed_at)::float8 * 1000 end as age_ms
    from mcp_servers
    where id = ${id} and tenant_id in (${tenant}, ${SHARED}) and deleted_at is null
    order by tenant_id desc limit 1`;
  return row ? StoredMcpServer.parse(row) : null;
}

/** An MCP server by the owner of its row. */
export const McpServerName = z.object({ owner: z.string(), id: z.string() });
export type McpServerName = z.infer<typeof McpServerName>;

/** The current version of an MCP server. */
export const McpServerVersion = McpServerName.extend({ version: z.number().int() });
export type McpServerVersion = z.infer<typeof McpServerVersion>;

/** The current versions of the servers, as far as they exist. A worker compares them with those of its connections. */
export async function readMcpVersions(sql: Sql, servers: McpServerName[]): Promise<McpServerVersion[]> {
  return await sql<McpServerVersion[]>`
    select m.tenant_id as owner, m.id, m.version
    from unnest(
      ${pgArray(servers.map(({ owner }) => owner))}::text[], ${pgArray(servers.map(({ id }) => id))}::text[]
    ) as named(tenant_id, id)
    join mcp_servers m using (tenant_id, id) where m.deleted_at is null`;
}

/**
 * Claims MCP servers whose current version no worker has tried to list. Another worker may claim them a minute later, because this
 * worker may have died.
 */
export async function claimMcpListings(sql: Sql, limit: number): Promise<StoredMcpServer[]> {
  const rows = await sql`
    update mcp_servers m set try_at = now() + interval '1 minute'
    from (
      select tenant_id, id from mcp_servers
      where deleted_at is null and tried_version < version and try_at <= now()
      order by try_at limit ${limit} for update skip locked
    ) due
    where m.tenant_id = due.tenant_id and m.id = due.id
    returning m.id, m.tenant_id as owner, m.version, m.definition, null as listing, null as age_ms`;
  return rows.map((row) => StoredMcpServer.parse(row));
}

/** What a worker found at an MCP server: its tools as JSON text, or an error. */
export const McpListed = z.object({
  owner: z.string(),
  id: z.string(),
  version: z.number().int(),
  listing: z.string().nullable(),
  error: z.string().nullable(),
});
export type McpListed = z.infer<typeof McpListed>;

/** Saves what a worker found. A listing of an older version is dropped; a failure leaves the last listing in its place. */
export async function saveMcpListing(sql: Sql, found: McpListed): Promise<null> {
  const { owner, id, version, listing, error } = found;
  await sql`
    update mcp_servers set
      tried_version = version, try_at = now(), list_error = ${error},
      listing = coalesce(${listing}, listing),
      listed_version = case when ${listing}::text is null then listed_version else version end,
      listed_at = case when ${listing}::text is null then listed_at else now() end
    where tenant_id = ${owner} and id = ${id} and version = ${version}`;
  return null;
}

/** The newest listing of an MCP server, of whichever version, when it was made, and why and when the last try failed. */
export const McpListingState = z.object({
  listing: z.string().nullable(),
  is_current: z.boolean(),
  listed_at: z.date().nullable(),
  list_error: z.string().nullable(),
  tried_at: z.date(),
});
export type McpListingState = z.infer<typeof McpListingState>;

/** The state of a server's listing; null when the owner itself has no such server. */
export async function readListingState(sql: Sql, owner: string, id: string): Promise<McpListingState | null> {
  const [row] = await sql`
    select listing, coalesce(listed_version = version, false) as is_current, listed_at,
      case when tried_version = version then list_error end as list_error, try_at as tried_at
    from mcp_servers where tenant_id = ${owner} and id = ${id} and deleted_at is null`;
  return row ? McpListingState.parse(row) : null;
}

/** The MCP servers with these names that the owner has, or that are shared, with their listings. */
export async function lookUpMcpServers(
  sql: Sql,
  owner: Owner,
  ids: readonly string[],
): Promise<{ id: string; listing: string | null }[]> {
  return await sql<{ id: string; listing: string | null }[]>`
    select distinct on (id) id, listing from mcp_servers
    where tenant_id in (${owner}, ${SHARED}) and id = any(${pgArray(ids)}::text[]) and deleted_at is null
    order by id, tenant_id desc`;
}
