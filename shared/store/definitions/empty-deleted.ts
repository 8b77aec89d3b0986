import type { Sql } from "../sql.ts";
import type { Kind } from "./stored-definition.ts";

/** The most definitions of one kind that one call empties. */
const BATCH = 1_000;

/**
 * Deletes the text of agents, tools and MCP servers that were deleted 30 days ago, with the secrets in it. A row stays with its version,
 * so that a definition with this id which is saved later does not get a version that processes have kept.
 * @returns true when more may be left
 */
export async function emptyDeleted(sql: Sql): Promise<boolean> {
  let most = 0;
  for (const kind of ["agents", "tools", "mcp_servers"] as const satisfies Kind[]) {
    const listing = kind === "mcp_servers" ? sql`, listing = null, list_error = null` : sql``;
    const { count } = await sql`
      update ${sql(kind)} set name = '', definition = '{}' ${listing} where (tenant_id, id) in (
        select tenant_id, id from ${sql(kind)}
        where deleted_at < now() - interval '30 days' and definition <> '{}' order by deleted_at limit ${BATCH})
        and deleted_at < now() - interval '30 days'`;
    most = Math.max(most, count);
  }
  return most === BATCH;
}
