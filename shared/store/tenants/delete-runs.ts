import { dequeueJournals } from "../archive/queue-journals.ts";
import { FAMILY } from "../money/budget-rows.ts";
import { boundedRows } from "../sql.ts";
import type { Sql } from "../sql.ts";

/**
 * The CTEs that delete the runs of the CTE `doomed` with what belongs to them alone; `deleted_runs_rows` has a row for each. Not their
 * usage, which invoices are built from, nor their charges in budgets, nor their deliveries and objects.
 */
export function deleteRuns(sql: Sql) {
  return sql`deleted_runs_rows as (delete from runs where run_id in (select run_id from doomed) returning 1
    ), deleted_entries as (
      -- With the day, Postgres looks into one partition for each run.
      delete from journal e using ${boundedRows(sql, sql`select run_id from doomed`)} d
      where e.run_id = d.run_id and right(e.run_id, 13) = right(d.run_id, 13)
    ), deleted_waits as (delete from waits where run_id in (select run_id from doomed)
    ), deleted_uses as (delete from upload_uses where run_id in (select run_id from doomed)
    ), deleted_artifacts as (delete from artifacts where run_id in (select run_id from doomed)
    ), deleted_mcp_tasks as (delete from mcp_tasks where run_id in (select run_id from doomed)
    ), lapsed_reservations as (
      -- What is charged stays until it is added to what its budget has spent.
      delete from budget_calls where run_id in (select run_id from doomed) and not charged
    ), deleted_families as (delete from budgets b using runs r
      where r.run_id in (select run_id from doomed) and b.tenant_id = r.tenant_id and b.budget_id = ${FAMILY} || r.run_id
    ), deleted_letters as (delete from dead_letters where run_id in (select run_id from doomed)
    ), deleted_reservations as (delete from file_reservations where run_id in (select run_id from doomed)
    ), deleted_ends as (delete from lane_ends where run_id in (select run_id from doomed)
    ), dequeued_runs as (${dequeueJournals(sql, sql`select run_id from doomed`)}
    )`;
}

/**
 * The CTEs of `deleteRuns`, and those by which retention deletes what the runs of the CTE `doomed` (run_id, tenant_id,
 * archive_segment) have elsewhere: their deliveries, their part of the archive, the messages of chat turns, and, by the sweep of 7.13,
 * their objects. A session goes with its last turn, and a batch is examined.
 */
export function retireRuns(sql: Sql) {
  return sql`${deleteRuns(sql)}, deleted_deliveries as (
      delete from webhook_deliveries where run_id in (select run_id from doomed)
    ), unreferenced as (
      update journal_segments g set live_runs = live_runs - d.n,
        unused_since = case when live_runs = d.n then now() else unused_since end
      from (select archive_segment, count(*)::int as n from doomed group by 1) d where g.segment_id = d.archive_segment
    ), ${leaveBatches(sql)}, ${leaveSessions(sql)}, recorded as (
      insert into deleted_runs (run_id, tenant_id) select run_id, tenant_id from doomed on conflict do nothing
    )`;
}

/** The CTEs by which batches count the runs of `doomed` as deleted. `kept_until` always changes, which `deleteBatches` relies on. */
function leaveBatches(sql: Sql) {
  return sql`left_batches as (
      update batches b set deleted_runs = b.deleted_runs + d.n, kept_until = greatest(b.kept_until + interval '1 microsecond', now())
      from (
        select batch_id, count(*)::int as n from runs
        where run_id in (select run_id from doomed) and batch_id is not null group by batch_id
      ) d where b.batch_id = d.batch_id
    )`;
}

/**
 * The CTEs that delete the messages of the chat turns in `doomed`, and the sessions that have no other turn. A session that takes a turn at
 * the same moment stays: its `newest_base` is another one by then.
 */
function leaveSessions(sql: Sql) {
  return sql`doomed_turns as materialized (
      select run_id, chat_session, right(run_id, 13) as base from runs
      where run_id in (select run_id from doomed) and chat_session is not null
    ), left_sessions as materialized (
      select s.session_id, s.newest_base from chat_sessions s
      where s.session_id in (select chat_session from doomed_turns) and not exists (
        select from runs r where r.chat_session = s.session_id and r.run_id not in (select run_id from doomed))
    ), deleted_sessions as (
      delete from chat_sessions s using left_sessions l
      where s.session_id = l.session_id and s.newest_base = l.newest_base returning s.session_id
    ), deleted_messages as (
      delete from chat_messages m using doomed_turns t where m.session_id = t.chat_session and m.base = t.base
    ), deleted_older_messages as (
      -- Those of turns whose runs an earlier version deleted: without their session no statement finds them.
      delete from chat_messages m using deleted_sessions s where m.session_id = s.session_id
    )`;
}
