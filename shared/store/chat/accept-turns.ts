import { baseOf } from "../../contracts/ids.ts";
import type { RunId } from "../../contracts/ids.ts";
import type { NewRun, NewTurn } from "../../contracts/run.ts";
import type { Sql } from "../sql.ts";

/** The wake-up of a turn that waits for another one. `wakeTurns` makes it due long before; this is the last resort. */
const LATEST_WAKE = "24 hours";

/** A submitted run in the form of the statement that accepts it: without a nested turn. */
export function withTurn({ turn, ...run }: NewRun) {
  if (turn === undefined) return run;
  return {
    ...run,
    chat_session: turn.session,
    turn_tenant: turn.definition_tenant,
    turn_version: turn.definition_version,
    rejects_busy: turn.rejects_busy,
    interrupts: turn.interrupts,
  };
}

/** The CTE `turns`: those of the `admitted` chat turns that their sessions take. Sessions are locked in one order. */
export function takenTurns(sql: Sql) {
  return sql`turns as (
      select t.run_id, t.waits from (
        select chat_session, array_agg(run_id order by right(run_id, 13)) as runs,
          array_agg(rejects_busy order by right(run_id, 13)) as rejects
        from admitted where chat_session is not null group by chat_session order by chat_session
      ) s cross join lateral take_turns(s.chat_session, s.runs, s.rejects) t
    ),`;
}

/** The part of the CTE `pinned` for chat turns: each names its version itself. */
export function pinnedTurns(sql: Sql) {
  return sql`union all
      select a.run_id, a.turn_tenant, a.turn_version,
        case when t.waits then extract(epoch from ${LATEST_WAKE}::interval)::float8 * 1000 else 0 end
      from admitted a join turns t using (run_id)`;
}

/** The CTE that adds the user's messages of the `accepted` turns to the history. */
export function insertQuestions(sql: Sql) {
  return sql`, questions as (
      insert into chat_messages (session_id, base, n, content, images, attachments)
      select chat_session, right(run_id, 13), 0, input::json ->> 'message',
        coalesce(json_array_length(input::json -> 'images'), 0), input::json ->> 'attachments'
      from accepted where chat_session is not null
    )`;
}

/**
 * Why a session did not take a turn: it does not exist, or was `busy` and the turn was not to wait. `outrun`: a later base was
 * first, and the turn may be submitted again under a new one. Null: none of these. The turn that made the session busy may have ended
 * since, so `busy` is also the answer for a turn that was not to wait when no other reason holds.
 * @param hasRoom whether the queue certainly had room; without room, the full queue is the reason
 */
export async function whyNotTaken(
  sql: Sql,
  { session, rejects_busy }: NewTurn,
  run: RunId,
  hasRoom: boolean,
): Promise<"unknown" | "busy" | "outrun" | null> {
  const [row] = await sql<{ outrun: boolean; busy: boolean }[]>`
    select newest_base >= ${baseOf(run)} as outrun, exists (
      select from runs r where r.chat_session = s.session_id and r.ended_at is null) as busy
    from chat_sessions s where session_id = ${session} and deleted_at is null`;
  if (!row) return "unknown";
  if (rejects_busy && row.busy) return "busy";
  if (row.outrun) return "outrun";
  return rejects_busy && hasRoom ? "busy" : null;
}
