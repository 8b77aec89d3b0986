import type { RunId } from "../../contracts/ids.ts";
import type { Sql } from "../sql.ts";
import { SignalledRun, signalRun, signalledRun } from "./family.ts";
import { CLOSED_BY } from "./waits.ts";

/**
 * Ends what a failed track of a run has left open below `path`, while other tracks go on: its questions and timers take no answer any
 * more, and the children that it waited for are cancelled. The run's other waits stay.
 *
 * Two statements, each a transaction of its own: an answer locks the run before its wait, and the end of a child locks the child
 * before its parent, so a statement that held a wait and then locked children could deadlock with both.
 * @returns the children that are to be enqueued, and the owners of those that run
 */
export async function abandonTrack(sql: Sql, run: RunId, path: string): Promise<SignalledRun[]> {
  const prefix = `${path}.`;
  await sql`
    update waits set answered_at = now(), answered_by = ${CLOSED_BY.branch}
    where run_id = ${run} and kind in ('human', 'timer', 'budget') and answered_at is null
      and starts_with(wait_id, ${prefix})`;
  const rows = await sql`
    with locked as (
      select run_id from runs
      where parent_run_id = ${run} and ended_at is null and starts_with(parent_wait_id, ${prefix})
      order by run_id collate "C" for update
    )
    update runs r set ${signalRun(sql, sql`true`)}, cancel_requested_at = coalesce(r.cancel_requested_at, now())
    where r.run_id in (select run_id from locked) and r.ended_at is null
    returning ${signalledRun(sql)} as run`;
  return rows.map(({ run: child }) => SignalledRun.parse(child));
}
