import { z } from "zod";
import { SHARED } from "../../contracts/tenant.ts";
import type { Owner } from "../../contracts/tenant.ts";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";
import type { Kind } from "./stored-definition.ts";

/** The fields of an agent on which other definitions depend. */
export const AgentFields = z.object({
  id: z.string(),
  tools: z.array(z.string()).catch([]),
  model: z.string().nullable().catch(null),
  provider: z.string().nullable().catch(null),
});

/** The agents with these ids that the owner has, or that are shared, with the fields on which other definitions depend. */
export async function lookUpAgents(
  sql: Sql,
  owner: Owner,
  ids: readonly string[],
): Promise<z.infer<typeof AgentFields>[]> {
  const rows = await sql`
    select distinct on (id) id, definition::json -> 'tools' as tools, definition::json -> 'model' as model,
      definition::json -> 'provider' as provider
    from agents
    where tenant_id in (${owner}, ${SHARED}) and id = any(${pgArray(ids)}::text[]) and deleted_at is null
    order by id, tenant_id desc`;
  return rows.map((row) => AgentFields.parse(row));
}

/** Those of `ids` under which the owner has a definition of this kind, or all tenants share one. */
export async function lookUpIds(
  sql: Sql,
  kind: "tools" | "orchestrations",
  owner: Owner,
  ids: readonly string[],
): Promise<string[]> {
  const rows = await sql<{ id: string }[]>`
    select distinct id from ${sql(kind)}
    where tenant_id in (${owner}, ${SHARED}) and id = any(${pgArray(ids)}::text[]) and deleted_at is null`;
  return rows.map(({ id }) => id);
}

/** Ids of definitions that the owner may use, the newest first, to suggest one of them. */
export async function listIds(
  sql: Sql,
  kind: Kind | "orchestrations",
  owner: Owner,
  limit: number,
): Promise<string[]> {
  const rows = await sql<{ id: string }[]>`
    select id from ${sql(kind)} where tenant_id in (${owner}, ${SHARED}) and deleted_at is null
    order by updated_at desc limit ${limit}`;
  return rows.map(({ id }) => id);
}

/** The id of the first agent by name that the owner may use; null: there is none. */
export async function firstAgent(sql: Sql, owner: Owner): Promise<string | null> {
  const [row] = await sql<{ id: string }[]>`
    select id from (
      select distinct on (id) id, name from agents
      where tenant_id in (${owner}, ${SHARED}) and deleted_at is null order by id, tenant_id desc) a
    order by name, id limit 1`;
  return row?.id ?? null;
}
