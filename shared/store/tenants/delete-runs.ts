import { FAMILY } from "../money/budget-rows.ts";
import { boundedRows } from "../sql.ts";
import type { Sql } from "../sql.ts";

/**
 * The CTEs that delete the runs of the CTE `doomed` with what belongs to them alone; `deleted_runs_rows` has a row for each. Not their
 * usage, which invoices are built from, nor their deliveries and objects.
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
    ), deleted_budget_calls as (delete from budget_calls where run_id in (select run_id from doomed)
    ), deleted_families as (delete from budgets b using runs r
      where r.run_id in (select run_id from doomed) and b.tenant_id = r.tenant_id and b.budget_id = ${FAMILY} || r.run_id
    ), deleted_letters as (delete from dead_letters where run_id in (select run_id from doomed)
    ), deleted_reservations as (delete from file_reservations where run_id in (select run_id from doomed)
    ), deleted_ends as (delete from lane_ends where run_id in (select run_id from doomed)
    )`;
}

/**
 * The CTEs of `deleteRuns`, and those by which retention deletes what the runs of the CTE `doomed` (run_id, tenant_id,
 * archive_segment) have elsewhere: their deliveries, their part of the archive, and, by the sweep of 7.13, their objects.
 */
export function retireRuns(sql: Sql) {
  return sql`${deleteRuns(sql)}, deleted_deliveries as (
      delete from webhook_deliveries where run_id in (select run_id from doomed)
    ), unreferenced as (
      update journal_segments g set live_runs = live_runs - d.n,
        unused_since = case when live_runs = d.n then now() else unused_since end
      from (select archive_segment, count(*)::int as n from doomed group by 1) d where g.segment_id = d.archive_segment
    ), recorded as (
      insert into deleted_runs (run_id, tenant_id) select run_id, tenant_id from doomed on conflict do nothing
    )`;
}
