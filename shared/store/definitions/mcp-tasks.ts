import { z } from "zod";
import { RunId } from "../../contracts/ids.ts";
import type { Sql } from "../sql.ts";

/** A task that an MCP server has made of a call of a run. `owner` and `server_id`: the row of the server. */
export const McpTaskRow = z.object({
  run_id: RunId,
  task_id: z.string(),
  /** The session with the server to which the task belongs; null: the task can be reached in any session. */
  session_id: z.string().nullable(),
  owner: z.string(),
  server_id: z.string(),
});
export type McpTaskRow = z.infer<typeof McpTaskRow>;

/** A task of a run that has ended. `definition`: of its server; null: it is deleted. `tries`: how often a worker has taken it. */
export const EndedMcpTask = McpTaskRow.extend({
  tries: z.number().int(),
  version: z.number().int().nullable(),
  definition: z.string().nullable(),
});
export type EndedMcpTask = z.infer<typeof EndedMcpTask>;

/** Registers a task, once however often it is called. A run that was deleted meanwhile has no tenant: its task is not registered. */
export async function saveMcpTask(
  sql: Sql,
  { run_id, task_id, session_id, owner, server_id }: McpTaskRow,
): Promise<null> {
  await sql`
    insert into mcp_tasks (run_id, tenant_id, task_id, session_id, owner, server_id)
    select run_id, tenant_id, ${task_id}, ${session_id}, ${owner}, ${server_id} from runs where run_id = ${run_id}
    on conflict do nothing`;
  return null;
}

/** Deletes the row of a task that has ended, or was cancelled. */
export async function forgetMcpTask(sql: Sql, run: RunId, task: string): Promise<null> {
  await sql`delete from mcp_tasks where run_id = ${run} and task_id = ${task}`;
  return null;
}

/**
 * Claims tasks whose runs have ended, so that the worker cancels them. A task of a live run is examined again half a minute later. So is
 * a claimed task, because its worker may have died. Of two callers one gets a task.
 */
export async function claimEndedMcpTasks(sql: Sql): Promise<EndedMcpTask[]> {
  const rows = await sql`
    with due as (
      select run_id, task_id from mcp_tasks where try_at <= now() order by try_at limit 100 for update skip locked
    ), looked as (
      update mcp_tasks t set try_at = now() + interval '30 seconds', tries = t.tries + (d.ended)::int
      from (
        select due.*, coalesce(r.status in ('completed', 'failed', 'cancelled'), true) as ended
        from due left join runs r using (run_id)
      ) d
      where t.run_id = d.run_id and t.task_id = d.task_id
      returning t.run_id, t.task_id, t.session_id, t.owner, t.server_id, t.tries, d.ended
    )
    select l.run_id, l.task_id, l.session_id, l.owner, l.server_id, l.tries, m.version, m.definition
    from looked l left join mcp_servers m on m.tenant_id = l.owner and m.id = l.server_id and m.deleted_at is null
    where l.ended`;
  return rows.map((row) => EndedMcpTask.parse(row));
}
