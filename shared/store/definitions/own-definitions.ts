import { z } from "zod";
import type { DefinitionKind } from "../../contracts/definition/index.ts";
import type { Owner } from "../../contracts/tenant.ts";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";

/** The newest version of a definition that an owner itself has, with the JSON text that is stored. */
const OwnDefinition = z.object({
  id: z.string(),
  version: z.number().int(),
  definition: z.string(),
  is_deleted: z.boolean(),
});
export type OwnDefinition = z.infer<typeof OwnDefinition>;

/** Those of `ids` that the owner itself has, deleted ones included, by id. */
export async function readOwnDefinitions(
  sql: Sql,
  kind: DefinitionKind,
  owner: Owner,
  ids: readonly string[],
): Promise<ReadonlyMap<string, OwnDefinition>> {
  const wanted = sql`d.tenant_id = ${owner} and d.id = any(${pgArray(ids)}::text[])`;
  const rows =
    kind === "orchestrations"
      ? await sql`
          select d.id, d.version, v.definition, d.deleted_at is not null as is_deleted
          from orchestrations d
          join orchestration_versions v on v.tenant_id = d.tenant_id and v.id = d.id and v.version = d.version
          where ${wanted}`
      : await sql`
          select d.id, d.version, d.definition, d.deleted_at is not null as is_deleted
          from ${sql(kind)} d where ${wanted}`;
  const found = rows.map((row) => OwnDefinition.parse(row));
  return new Map(found.map((own) => [own.id, own]));
}

/** How many definitions of each kind an owner has; null: how many all owners have together. */
export async function countDefinitions(
  sql: Sql,
  owner: Owner | null,
): Promise<{ [Kind in DefinitionKind]: number }> {
  const [row] = await sql`
    select
      (select count(*)::int from orchestrations where deleted_at is null and tenant_id = coalesce(${owner}, tenant_id)) as orchestrations,
      (select count(*)::int from agents where deleted_at is null and tenant_id = coalesce(${owner}, tenant_id)) as agents,
      (select count(*)::int from tools where deleted_at is null and tenant_id = coalesce(${owner}, tenant_id)) as tools,
      (select count(*)::int from mcp_servers where deleted_at is null and tenant_id = coalesce(${owner}, tenant_id)) as mcp_servers`;
  const count = z.number().int();
  return z.object({ orchestrations: count, agents: count, tools: count, mcp_servers: count }).parse(row);
}
