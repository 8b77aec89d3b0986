import { z } from "zod";
import type { TenantId } from "../../contracts/ids.ts";
import { SHARED } from "../../contracts/tenant.ts";
import type { Owner } from "../../contracts/tenant.ts";
import type { Sql } from "../sql.ts";
import { DefinitionSummary, StoredDefinition } from "./stored-definition.ts";
import type { NewDefinition } from "./stored-definition.ts";

/**
 * Saves a new, immutable version of an orchestration. A deleted orchestration becomes visible again.
 * @returns the number of the new version
 */
export async function saveOrchestration(
  sql: Sql,
  owner: Owner,
  row: NewDefinition & { description: string },
): Promise<number> {
  return z.number().parse(await saveOrchestrationIf(sql, owner, row, null));
}

/**
 * Saves an orchestration if its version is still `seen` (0: there was none; null: any version).
 * @returns the number of the new version; null when another save was first
 */
export async function saveOrchestrationIf(
  sql: Sql,
  owner: Owner,
  { id, name, description, definition }: NewDefinition & { description: string },
  seen: number | null,
): Promise<number | null> {
  const [row] = await sql<{ version: number }[]>`
    with saved as (
      insert into orchestrations as o (tenant_id, id, name, description, version)
      values (${owner}, ${id}, ${name}, ${description}, 1)
      on conflict (tenant_id, id) do update set
        name = excluded.name, description = excluded.description,
        version = o.version + 1, updated_at = now(), deleted_at = null
        where o.version = coalesce(${seen}::int, o.version)
      returning tenant_id, id, version
    )
    insert into orchestration_versions (tenant_id, id, version, definition)
    select tenant_id, id, version, ${definition} from saved
    returning version`;
  return row?.version ?? null;
}

/**
 * The tenant's own orchestration, else the shared one with that id. Null when there is neither.
 * @param version null: the newest one
 */
export async function readOrchestration(
  sql: Sql,
  tenant: TenantId,
  id: string,
  version: number | null = null,
): Promise<StoredDefinition | null> {
  const [row] = await sql`
    select o.id, o.tenant_id as owner, v.version, v.definition
    from orchestrations o
    join orchestration_versions v
      on v.tenant_id = o.tenant_id and v.id = o.id and v.version = coalesce(${version}::int, o.version)
    where o.id = ${id} and o.tenant_id in (${tenant}, ${SHARED}) and o.deleted_at is null
    order by o.tenant_id desc limit 1`;
  return row ? StoredDefinition.parse(row) : null;
}

/**
 * The JSON text of the definition that a run is pinned to; null when there is none. A version never changes, so a
 * caller may cache it for any time.
 */
export async function readPinnedDefinition(
  sql: Sql,
  definitionTenant: string,
  id: string,
  version: number,
): Promise<string | null> {
  const [row] = await sql<{ definition: string }[]>`
    select definition from orchestration_versions
    where tenant_id = ${definitionTenant} and id = ${id} and version = ${version}`;
  return row?.definition ?? null;
}

/**
 * A page of the orchestrations that a tenant can run, ordered by id, with ids after `after`: its own, and the shared
 * ones whose id it does not have itself.
 */
export async function listOrchestrations(
  sql: Sql,
  tenant: TenantId,
  after: string,
  limit: number,
): Promise<DefinitionSummary[]> {
  const rows = await sql`
    select distinct on (id) id, name, description, updated_at from orchestrations
    where tenant_id in (${tenant}, ${SHARED}) and id > ${after} and deleted_at is null
    order by id, tenant_id desc limit ${limit}`;
  return rows.map((row) => DefinitionSummary.parse(row));
}

/**
 * Deletes an orchestration for new runs; runs that were accepted before keep their version.
 * @returns false when there is none
 */
export async function deleteOrchestration(sql: Sql, owner: Owner, id: string): Promise<boolean> {
  const rows = await sql`
    update orchestrations set deleted_at = now()
    where tenant_id = ${owner} and id = ${id} and deleted_at is null returning 1`;
  return rows.length > 0;
}
