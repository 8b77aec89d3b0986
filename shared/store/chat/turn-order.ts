import type { RunId, SessionId } from "../../contracts/ids.ts";
import type { DueRun } from "../runs/due-runs.ts";
import type { Sql } from "../sql.ts";

/** The most turns that one call of `wakeTurns` makes due. */
const MAX_WOKEN = 1_000;

/**
 * The condition that a run `r` is no chat turn, or that all earlier turns of its session have ended. A turn that is to be
 * cancelled is not executed, so it need not wait.
 *
 * `take_turns` commits the turns of a session in the order of their bases, so a statement that sees a turn sees all earlier
 * ones.
 */
export function isNextInSession(sql: Sql) {
  return sql`(r.chat_session is null or r.cancel_requested_at is not null or not exists (
          select from runs earlier where earlier.chat_session = r.chat_session and earlier.ended_at is null
            and right(earlier.run_id, 13) < right(r.run_id, 13)))`;
}

/**
 * Makes waiting turns due whose earlier turns have ended: docs/protocol.md 5.14. It is called after each end of a turn, and
 * after each accept of a turn that waits; the reconciler calls it for turns that a crash in between has left waiting.
 * @param session null: of all sessions, at most 1,000 turns
 * @returns the turns that are due now, for the queue
 */
export async function wakeTurns(sql: Sql, session: SessionId | null): Promise<DueRun[]> {
  const one = session === null ? sql`r.chat_session is not null` : sql`r.chat_session = ${session}`;
  return sql<DueRun[]>`
    update runs w set wake_at = now()
    from (
      select r.run_id from runs r
      where ${one} and r.ended_at is null and r.status = 'queued' and r.attempt = 0 and r.wake_at > now()
        and ${isNextInSession(sql)}
      limit ${MAX_WOKEN}
    ) next
    where w.run_id = next.run_id and w.status = 'queued' and w.attempt = 0
    returning w.run_id, w.tenant_id, w.lane, w.priority, w.status, w.wake_at::text as wake_at,
      floor(extract(epoch from w.queued_at) * 1000)::float8 as queued_at_ms, 0::float8 as late_ms`;
}

/** A turn that has not ended. `asks`: it is paused, and a person may answer it. */
export type OpenTurn = { run_id: RunId; asks: boolean };

/** The open turns of a session, the oldest first: that one is under way, and the others wait for it. */
export async function readOpenTurns(sql: Sql, session: SessionId, limit: number): Promise<OpenTurn[]> {
  return sql<OpenTurn[]>`
    select run_id, status = 'paused' and exists (
      select from waits w where w.run_id = runs.run_id and w.kind = 'human' and w.answered_at is null) as asks
    from runs
    where chat_session = ${session} and ended_at is null order by right(run_id, 13) limit ${limit}`;
}
