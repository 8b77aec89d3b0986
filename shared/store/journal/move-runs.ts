import { afterLocks, cancelRequestedAt, endedRelatives, lockFamily, notifyFamily } from "../runs/family.ts";
import type { Sql } from "../sql.ts";
import { deliverySnapshot } from "../webhooks/insert-deliveries.ts";

/**
 * The CTE `moved` of a flush, and those that it is made of: the runs of the entries `e` whose fences hold, changed as
 * their entries say. `hasEnds`: some of the entries end their run.
 */
export function moveRuns(sql: Sql, hasEnds: boolean) {
  return hasEnds ? moveFamilies(sql) : sql`moved as (${move(sql, "all")})`;
}

/**
 * Ends first, all other runs after them. A relative of an ended run that has an entry in this flush is therefore
 * changed once: by the end, or by its own entry. Cost when no run has relatives: 0.4 ms more than `move` alone, and
 * 3 us for each end.
 */
function moveFamilies(sql: Sql) {
  return sql`ending as (
      select run_id from e where ends
    ), ${lockFamily(sql, sql`select run_id from e where exists (select from family)`)}, ended as (${move(sql, "ends")}
    ), relatives as (${endedRelatives(sql)}
    ), others as (${move(sql, "others")}
    ), moved as (
      select * from ended union all select * from others
    ), ${notifyFamily(sql, sql`moved`)}`;
}

/**
 * Changes the runs of all entries, of those that end their run, or (after the ends) of the others.
 *
 * An entry of the last part whose relative has just ended raises the run's signals in the same update. A park of such
 * a run has missed that signal, so it is left out.
 */
function move(sql: Sql, part: "all" | "ends" | "others") {
  const isLast = part === "others";
  const signals = isLast
    ? sql`signals = r.signals + (k.run_id is not null)::int, cancel_requested_at = ${cancelRequestedAt(sql)},`
    : sql``;
  const from = isLast ? sql`e left join relatives k on k.run_id = e.run_id` : sql`e`;
  const only = {
    all: () => sql``,
    ends: () => sql`and e.ends and ${afterLocks(sql)}`,
    others: () => sql`and not e.ends and (e.kind <> 'park' or k.run_id is null)`,
  }[part]();
  return sql`
      update runs r set ${signals}
        event_seq = r.event_seq + e.events_n,
        journal_bytes = r.journal_bytes + octet_length(e.events) + coalesce(octet_length(e.output), 0),
        deadline_at = now() + e.deadline_ms * interval '1 millisecond',
        current_step_id = e.current_step,
        step_count = r.step_count + e.steps,
        tokens = r.tokens + e.tokens,
        cost_micro_usd = r.cost_micro_usd + e.cost,
        crash_count = case when e.kind in ('step', 'turn') then 0 else r.crash_count end,
        status = coalesce(e.status, r.status),
        owner = case when e.status is null then r.owner end,
        wake_at = case
          when e.status is null then r.wake_at
          when e.status in ('queued', 'paused') then now() + e.wake_ms * interval '1 millisecond'
        end,
        paused_at = case when e.status = 'paused' then now() end,
        ended_at = case when e.ends then now() end,
        error = e.error
      from ${from}
      where r.run_id = e.run_id and r.attempt = e.attempt and r.owner = e.owner and r.event_seq = e.known_seq
        and (e.kind <> 'park' or r.signals = e.signals) ${only}
      returning r.run_id, r.event_seq, r.signals, r.cancel_requested_at is not null as cancel, r.attempt,
        e.events_n, e.kind, e.step_path, e.visit, e.output, e.events, ${deliverySnapshot(sql)}`;
}
