import type { Sql } from "../sql.ts";
import { z } from "zod";
import type { TenantId } from "../../contracts/ids.ts";
import { SHARED } from "../../contracts/tenant.ts";
import type { Owner } from "../../contracts/tenant.ts";

/** A definition as it lies in the store: `definition` is its JSON text. */
const StoredDefinition = z.object({
  id: z.string(),
  owner: z.string(),
  version: z.number().int(),
  definition: z.string(),
});
export type StoredDefinition = z.infer<typeof StoredDefinition>;

const DefinitionSummary = z.object({
  id: z.string(),
  name: z.string(),
  description: z.string().optional(),
  updated_at: z.date(),
});
export type DefinitionSummary = z.infer<typeof DefinitionSummary>;

export type NewDefinition = { id: string; name: string; definition: string };

/** Definitions of which only the newest version is kept. Agents and tools are the same to the store. */
export type Kind = "agents" | "tools";

/** Saves a new, immutable version of an orchestration. One that was deleted lives again. @returns its version. */
export async function saveOrchestration(
  sql: Sql,
  owner: Owner,
  { id, name, description, definition }: NewDefinition & { description: string },
): Promise<number> {
  const [row] = await sql<{ version: number }[]>`
    with saved as (
      insert into orchestrations as o (tenant_id, id, name, description, version)
      values (${owner}, ${id}, ${name}, ${description}, 1)
      on conflict (tenant_id, id) do update set
        name = excluded.name, description = excluded.description,
        version = o.version + 1, updated_at = now(), deleted_at = null
      returning tenant_id, id, version
    )
    insert into orchestration_versions (tenant_id, id, version, definition)
    select tenant_id, id, version, ${definition} from saved
    returning version`;
  return z.number().parse(row?.version);
}

/** The tenant's own orchestration, else the one all share; its newest version if none is named. */
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

/** A page of what a tenant may run, by id after `after`: its own, and of the shared ones those that it has not its own of. */
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

/** Hides an orchestration from now on; runs that have begun keep their version. False when there is none. */
export async function deleteOrchestration(sql: Sql, owner: Owner, id: string): Promise<boolean> {
  const rows = await sql`
    update orchestrations set deleted_at = now()
    where tenant_id = ${owner} and id = ${id} and deleted_at is null returning 1`;
  return rows.length > 0;
}

/** The ids of all that an owner ever saved: also of what was deleted since. */
export async function idsEverSaved(
  sql: Sql,
  kind: Kind | "orchestrations",
  owner: Owner,
): Promise<Set<string>> {
  const rows = await sql<{ id: string }[]>`select id from ${sql(kind)} where tenant_id = ${owner}`;
  return new Set(rows.map(({ id }) => id));
}

/** Saves an agent or a tool. One that was deleted lives again. @returns its version. */
export async function saveDefinition(
  sql: Sql,
  kind: Kind,
  owner: Owner,
  { id, name, definition }: NewDefinition,
): Promise<number> {
  const [row] = await sql<{ version: number }[]>`
    insert into ${sql(kind)} as d (tenant_id, id, name, definition, version)
    values (${owner}, ${id}, ${name}, ${definition}, 1)
    on conflict (tenant_id, id) do update set
      name = excluded.name, definition = excluded.definition,
      version = d.version + 1, updated_at = now(), deleted_at = null
    returning version`;
  return z.number().parse(row?.version);
}

/** The tenant's own agent or tool, else the one all share. */
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

/** A page of a tenant's agents or tools, its own and the shared ones, by id after `after`. */
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

/** Hides an agent or a tool. False when there is none. */
export async function deleteDefinition(sql: Sql, kind: Kind, owner: Owner, id: string): Promise<boolean> {
  const rows = await sql`
    update ${sql(kind)} set deleted_at = now()
    where tenant_id = ${owner} and id = ${id} and deleted_at is null returning 1`;
  return rows.length > 0;
}
