import type { TenantId } from "../../contracts/ids.ts";
import { SHARED } from "../../contracts/tenant.ts";
import type { Owner } from "../../contracts/tenant.ts";
import type { Sql } from "../sql.ts";
import { DefinitionSummary, StoredDefinition } from "./stored-definition.ts";
import type { Kind, NewDefinition } from "./stored-definition.ts";

/**
 * Saves an agent, a tool or an MCP server if its version is still `seen` (0: there was none; null: any version). A deleted one becomes
 * visible again.
 * @returns the number of the new version; null when another save was first
 */
export async function saveDefinitionIf(
  sql: Sql,
  kind: Kind,
  owner: Owner,
  { id, name, definition }: NewDefinition,
  seen: number | null = null,
): Promise<number | null> {
  const [row] = await sql<{ version: number }[]>`
    insert into ${sql(kind)} as d (tenant_id, id, name, definition, version)
    values (${owner}, ${id}, ${name}, ${definition}, 1)
    on conflict (tenant_id, id) do update set
      name = excluded.name, definition = excluded.definition,
      version = d.version + 1, updated_at = now(), deleted_at = null
      where d.version = coalesce(${seen}::int, d.version)
    returning version`;
  return row?.version ?? null;
}

/** The tenant's own agent or tool, else the shared one with that id. Null when there is neither. */
export async function readDefinition(
  sql: Sql,
  kind: Kind,
  tenant: TenantId,
  id: string,
): Promise<StoredDefinition | null> {
  const [row] = await sql`
    select id, tenant_id as owner, version, definition from ${sql(kind)}
    where id = ${id} and tenant_id in (${tenant}, ${SHARED}) and deleted_at is null
    order by tenant_id desc limit 1`;
  return row ? StoredDefinition.parse(row) : null;
}

/** The version and the JSON text of an agent or a tool that this owner itself has; null when it has none. */
export async function readOwnDefinition(
  sql: Sql,
  kind: Kind,
  owner: Owner,
  id: string,
): Promise<{ version: number; definition: string } | null> {
  const [row] = await sql<{ version: number; definition: string }[]>`
    select version, definition from ${sql(kind)} where tenant_id = ${owner} and id = ${id} and deleted_at is null`;
  return row ?? null;
}

/** A page of a tenant's agents or tools, its own and the shared ones, ordered by id, with ids after `after`. */
export async function listDefinitions(
  sql: Sql,
  kind: Kind,
  tenant: TenantId,
  after: string,
  limit: number,
): Promise<DefinitionSummary[]> {
  const rows = await sql`
    select distinct on (id) id, name, updated_at from ${sql(kind)}
    where tenant_id in (${tenant}, ${SHARED}) and id > ${after} and deleted_at is null
    order by id, tenant_id desc limit ${limit}`;
  return rows.map((row) => DefinitionSummary.parse(row));
}

/**
 * Deletes an agent, a tool or an MCP server. It raises the version, so that a save which has seen the definition before does not bring it
 * back.
 * @returns false when there is none
 */
export async function deleteDefinition(sql: Sql, kind: Kind, owner: Owner, id: string): Promise<boolean> {
  const rows = await sql`
    update ${sql(kind)} set deleted_at = now(), version = version + 1
    where tenant_id = ${owner} and id = ${id} and deleted_at is null returning 1`;
  return rows.length > 0;
}
