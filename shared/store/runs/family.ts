import { z } from "zod";
import { RunId, TenantId } from "../../contracts/ids.ts";
import { Lane } from "../../contracts/run.ts";
import { boundedRows } from "../sql.ts";
import type { PendingQuery, Row, Sql } from "../sql.ts";

/** A run whose signals were raised: what the queue needs to enqueue it, and its owner while it is running. */
export const SignalledRun = z.object({
  run_id: RunId,
  tenant_id: TenantId,
  status: z.enum(["queued", "running"]),
  owner: z.string().nullable(),
  lane: Lane,
  priority: z.number(),
  queued_at_ms: z.number(),
});
export type SignalledRun = z.infer<typeof SignalledRun>;

/** A row `r` of runs as a SignalledRun. */
export function signalledRun(sql: Sql) {
  return sql`json_build_object('run_id', r.run_id, 'tenant_id', r.tenant_id, 'status', r.status, 'owner', r.owner,
    'lane', r.lane, 'priority', r.priority, 'queued_at_ms', floor(extract(epoch from r.queued_at) * 1000)::float8)`;
}

/**
 * What the end of runs means for their relatives, as parts of the statement that ends them: waits for an ended run are
 * answered, and the open children of an ended run are marked as cancelled. docs/protocol.md 5.5.
 *
 * The statement puts its own CTEs between these parts, in this order:
 *
 *     ending (run_id)            the runs that it is about to end
 *     lockFamily                 defines family, locked
 *     ended (run_id, output)     the runs that did end, under their conditions and `${afterLocks}`; output: JSON text of EndRecord
 *     relatives (run_id, cancel) made from `endedRelatives`
 *     notifyFamily               defines notified, answered
 *
 * `notifiedBy` then names the runs that are due now, for the queue.
 */

/**
 * Finds all relatives, and locks every row of `runs` that the statement changes, in the order of their ids.
 *
 * All statements lock in that order. Two of them that lock the same runs in another order would deadlock, and
 * Postgres takes a second to notice. A flush without ends has no separate step for locks: its update
 * locks each row as it reads it, and reads by key, so in that order, once `runs` has more than a few pages.
 *
 * A waiting run's row is locked before its wait is read, here and in a park. So when an end and a park come at the same
 * moment, the later one reads what the earlier one has written.
 * @param own the other runs that the statement changes, as a select of `run_id`
 */
export function lockFamily(sql: Sql, own: PendingQuery<Row[]>) {
  const ending = boundedRows(sql, sql`select run_id from ending`);
  // A lateral subquery with `offset 0` reads by the key of each ending run. For a plain join the planner may choose to read
  // all open waits, because there are few of them when it makes its plan; later there are many.
  return sql`family as (
      select d.run_id, w.run_id as relative, w.wait_id from ${ending} d cross join lateral (
        select run_id, wait_id from waits where child_run_id = d.run_id and answered_at is null offset 0
      ) w
      union
      -- A parent's wait may be so new that this statement cannot see it: the child's row has the wait's id.
      select d.run_id, c.parent_run_id, c.parent_wait_id from ${ending} d cross join lateral (
        select c.parent_run_id, c.parent_wait_id from runs c
        where c.run_id = d.run_id and c.parent_wait_id is not null and c.ended_at is null
          and (select w.answered_at from waits w
            where w.run_id = c.parent_run_id and w.wait_id = c.parent_wait_id) is null
        offset 0
      ) c
      union
      select d.run_id, c.run_id, null from ${ending} d cross join lateral (
        -- A child for which its parent does not wait outlives it.
        select run_id from runs
        where parent_run_id = d.run_id and parent_wait_id is not null and ended_at is null offset 0
      ) c
    ), locked as (
      select r.run_id, r.status
      from ${boundedRows(sql, sql`select relative as run_id from family union (${own})`)} f join runs r using (run_id)
      order by r.run_id collate "C" for update of r
    )`;
}

/** A condition that is always true, and makes Postgres take all locks before it changes the first row. */
export function afterLocks(sql: Sql) {
  return sql`(select count(*) from locked) >= 0`;
}

/**
 * The relatives of the ended runs, each once, however many of its relatives have ended.
 *
 * `cancel`: it is a child of an ended run.
 */
export function endedRelatives(sql: Sql) {
  return sql`
    select f.relative as run_id, bool_or(f.wait_id is null) as cancel
    from family f join ended d on d.run_id = f.run_id group by f.relative`;
}

/**
 * Signals the relatives that have not ended, and answers the waits for ended runs. A relative that waits becomes due, so
 * that a worker claims it and finds the answer or the cancel.
 *
 * Relatives that the statement changes elsewhere are left out: of two changes of one row in one statement Postgres makes
 * only the first.
 *
 * A wait is answered also when its run has ended: a retry of that run would wait for it for ever otherwise.
 * @param changed the name of the CTE that has changed runs
 */
export function notifyFamily(sql: Sql, changed: PendingQuery<Row[]>) {
  // Nothing changes a locked row, so `status` is still what `locked` read.
  const openRelatives = sql`
    select k.run_id, k.cancel from relatives k join locked l using (run_id)
    where l.status in ('queued', 'running', 'paused')`;
  return sql`notified as (
      update runs r set ${signalRun(sql, sql`k.cancel`)}, cancel_requested_at = ${cancelRequestedAt(sql)}
      from ${boundedRows(sql, openRelatives)} k
      where r.run_id = k.run_id and not exists (select from ${changed} x where x.run_id = k.run_id)
      returning r.run_id, r.status, r.owner, r.event_seq, ${signalledRun(sql)} as signalled,
        r.status = 'queued' and ${waitsForKey(sql)} as waits_for_key
    ), answered as (
      insert into waits (run_id, wait_id, kind, child_run_id, answer, answered_at, answered_by)
      select distinct on (f.relative, f.wait_id)
        f.relative, f.wait_id, 'child', d.run_id, nullif(d.output, ''), now(), d.run_id
      from family f join ended d on d.run_id = f.run_id
      where f.wait_id is not null
      on conflict (run_id, wait_id) do update
        set answer = excluded.answer, answered_at = excluded.answered_at, answered_by = excluded.answered_by
        where waits.answered_at is null
    )`;
}

/** The runs that the end of a run `m` has notified, as a JSON list of SignalledRun. */
export function notifiedBy(sql: Sql) {
  return sql`(select json_agg(n.signalled) from notified n
    where not n.waits_for_key and n.run_id in (select f.relative from family f where f.run_id = m.run_id))`;
}

/**
 * The assignments that signal a run `r` which has not ended: for an answer, a child's end, a cancel. docs/protocol.md 4. A run that waits
 * for its singleton key goes on waiting, and reads what has come when it has the key: only the end of the holder makes it due, or a cancel.
 * @param cancel whether the signal is a cancel
 */
export function signalRun(sql: Sql, cancel: PendingQuery<Row[]> = sql`false`) {
  return sql`signals = r.signals + 1,
        status = case r.status when 'paused' then 'queued' else r.status end,
        wake_at = case when r.status = 'running' or r.status = 'queued' and ${waitsForKey(sql)} and not ${cancel} then r.wake_at
          else now() end`;
}

/** The condition that a queued run `r` waits for its singleton key: see `waits_for_key` in migration 0019. */
function waitsForKey(sql: Sql) {
  return sql`(r.singleton_key is not null and r.wake_at > now() + interval '50 years')`;
}

/** The time of the first cancel request for a run `r`; now, when `k.cancel` makes this one the first. */
export function cancelRequestedAt(sql: Sql) {
  return sql`case when k.cancel then coalesce(r.cancel_requested_at, now()) else r.cancel_requested_at end`;
}
