import { boundedRows } from "../sql.ts";
import type { PendingQuery, Row, Sql } from "../sql.ts";

/**
 * What the end of runs means for their relatives, as parts of the statement that ends them: whoever waits for one of
 * them gets his answer, and what one of them has started is to end too. docs/protocol.md 5.5.
 *
 * The statement lays its own parts between these, in this order:
 *
 *     ending (run_id)            what it is about to end
 *     lockFamily                 family, locked
 *     ended (run_id, output)     what did end, under its conditions and with `${isLocked}`; output: JSON text of EndRecord
 *     relatives (run_id, cancel) made from `relativesOf`
 *     tellFamily                 told, answered
 */

/**
 * Finds all relatives and locks everything that the statement changes, in one order for all statements: two that meet
 * in several families would wait for each other otherwise, and Postgres takes a second to notice. A flush without ends
 * keeps to that order by its plan alone, which goes by keys as soon as there are more than a few pages of runs.
 *
 * A waiter's row is locked before his wait is looked at, by those who park as well. So of an end and a park at the same
 * moment the second sees what the first did.
 * @param own the other runs that the statement changes, as a select of `run_id`
 */
export function lockFamily(sql: Sql, own: PendingQuery<Row[]>) {
  const ending = boundedRows(sql, sql`select run_id from ending`);
  // By the key of each that ends: what a join may read at once are all open waits, which are few only in the beginning.
  return sql`family as (
      select d.run_id, w.run_id as relative, w.wait_id from ${ending} d cross join lateral (
        select run_id, wait_id from waits where child_run_id = d.run_id and answered_at is null offset 0
      ) w
      union
      -- A parent's wait may be so new that this statement cannot see it: the child knows its name.
      select d.run_id, c.parent_run_id, c.parent_wait_id from ${ending} d cross join lateral (
        select c.parent_run_id, c.parent_wait_id from runs c
        where c.run_id = d.run_id and c.parent_wait_id is not null and c.ended_at is null
          and (select w.answered_at from waits w
            where w.run_id = c.parent_run_id and w.wait_id = c.parent_wait_id) is null
        offset 0
      ) c
      union
      select d.run_id, c.run_id, null from ${ending} d cross join lateral (
        select run_id from runs where parent_run_id = d.run_id and ended_at is null offset 0
      ) c
    ), locked as (
      select r.run_id, r.status
      from ${boundedRows(sql, sql`select relative as run_id from family union (${own})`)} f join runs r using (run_id)
      order by r.run_id collate "C" for update of r
    )`;
}

/** Holds the change of a row back until all are locked. */
export function isLocked(sql: Sql) {
  return sql`(select count(*) from locked) >= 0`;
}

/** Who is to be told, once each however many of his relatives have ended: `cancel` what one of them has started. */
export function relativesOf(sql: Sql) {
  return sql`
    select f.relative as run_id, bool_or(f.wait_id is null) as cancel
    from family f join ended d on d.run_id = f.run_id group by f.relative`;
}

/**
 * Tells the relatives, except those that the statement changes elsewhere: of two changes of a row in one statement
 * Postgres makes the first alone. What waits becomes due, so that somebody claims it and finds the answer or the cancel.
 *
 * An answer is given once, also when the waiter has ended: a retry of his would wait for it for ever.
 * @param changed the name of the CTE that has changed runs
 */
export function tellFamily(sql: Sql, changed: PendingQuery<Row[]>) {
  // What is locked stays as it was seen then.
  const open = sql`
    select k.run_id, k.cancel from relatives k join locked l using (run_id)
    where l.status in ('queued', 'running', 'paused')`;
  return sql`told as (
      update runs r set ${hearing(sql)}, cancel_requested_at = ${cancelTime(sql)}
      from ${boundedRows(sql, open)} k
      where r.run_id = k.run_id and not exists (select from ${changed} x where x.run_id = k.run_id)
      returning r.run_id, r.status, r.owner, r.event_seq
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

/** How a run `r` changes that has not ended when something comes from outside: docs/protocol.md 4. */
export function hearing(sql: Sql) {
  return sql`signals = r.signals + 1,
        status = case r.status when 'paused' then 'queued' else r.status end,
        wake_at = case r.status when 'running' then r.wake_at else now() end`;
}

/** When the cancel of a run `r` was asked for, if `k` says that it is now. */
export function cancelTime(sql: Sql) {
  return sql`case when k.cancel then coalesce(r.cancel_requested_at, now()) else r.cancel_requested_at end`;
}
