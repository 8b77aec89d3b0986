import type { RunId, SessionId } from "../../contracts/ids.ts";
import type { DueRun } from "../runs/due-runs.ts";
import { signalRun } from "../runs/family.ts";
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
 * after each accept of a turn that waits; the reconciler calls it for what a crash in between has left (7.10): turns that wait, and turns
 * that are to be cancelled.
 * @param session null: of all sessions, at most 1,000 turns
 * @returns the turns that are due now, for the queue
 */
export async function wakeTurns(sql: Sql, session: SessionId | null): Promise<DueRun[]> {
  const one = session === null ? sql`r.chat_session is not null` : sql`r.chat_session = ${session}`;
  const next = await sql<DueRun[]>`
    update runs r set wake_at = now()
    from (
      select r.run_id from runs r
      where ${one} and r.ended_at is null and r.status = 'queued' and r.attempt = 0 and r.wake_at > now()
        and ${isNextInSession(sql)}
      limit ${MAX_WOKEN}
    ) next
    where r.run_id = next.run_id and r.status = 'queued' and r.attempt = 0
    returning ${dueTurn(sql)}`;
  return session === null ? [...next, ...(await markUnwantedTurns(sql))] : next;
}

/**
 * Marks turns as to be cancelled that an edge did not cancel before it died: those of deleted sessions, those before an open turn that
 * interrupts, and a turn that waits for a person although a later message came after its question. Their owners end the running ones; the others are due, and the workers that claim them end them.
 * @returns those that are due
 */
async function markUnwantedTurns(sql: Sql): Promise<DueRun[]> {
  const marked = await sql<(Omit<DueRun, "status"> & { status: "queued" | "running" })[]>`
    update runs r set ${signalRun(sql, sql`true`)}, cancel_requested_at = now()
    from (
      select o.run_id from runs o join chat_sessions s on s.session_id = o.chat_session
      where o.chat_session is not null and o.ended_at is null and o.cancel_requested_at is null and (
        s.deleted_at is not null
        or exists (
          select from runs later where later.chat_session = o.chat_session and later.ended_at is null and later.interrupts
            and right(later.run_id, 13) > right(o.run_id, 13))
        or o.status = 'paused' and exists (
          select from waits q join runs later on later.chat_session = o.chat_session
          where q.run_id = o.run_id and q.kind = 'human' and q.answered_at is null and later.ended_at is null
            and right(later.run_id, 13) > right(o.run_id, 13) and later.queued_at > q.opened_at))
      order by o.run_id limit ${MAX_WOKEN} for update of o skip locked
    ) unwanted
    where r.run_id = unwanted.run_id
    returning ${dueTurn(sql)}`;
  return marked.flatMap(({ status, ...turn }) => (status === "queued" ? [{ ...turn, status }] : []));
}

/** A row of `runs` that is due now, as a DueRun. */
function dueTurn(sql: Sql) {
  return sql`r.run_id, r.tenant_id, r.lane, r.priority, r.status, r.wake_at::text as wake_at,
    floor(extract(epoch from r.queued_at) * 1000)::float8 as queued_at_ms, 0::float8 as late_ms`;
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
