import { foldCounters } from "./metrics/counters.ts";
import { sweptBefore } from "./files/object-sweep.ts";
import type { Sql } from "./sql.ts";
import { applyRetention } from "./tenants/retention.ts";
import { deleteOfTenants } from "./tenants/delete-tenants.ts";
import { releaseFiles } from "./files/file-bytes.ts";
import { partsInTurn } from "./parts-in-turn.ts";
import { keepJournalDays } from "./journal/journal-days.ts";
import { emptyDeleted } from "./definitions/empty-deleted.ts";
import { deleteUnusedUses } from "./files/delete-uses.ts";
import { deleteBatches } from "./runs/delete-batches.ts";
import { deleteRunsOfLanes } from "./lanes/delete-lane-runs.ts";
import { deleteMails } from "./mails/delete-mails.ts";
import { deleteUserBudgets } from "./money/user-budgets.ts";
import { deleteDeliveries } from "./webhooks/delete-deliveries.ts";

/** The most rows of each table that one call deletes. */
const BATCH = 10_000;

/**
 * Retention (docs/protocol.md 7.8). Deletes
 * - after a day: rows of workers without a beat, idempotency keys, chat sessions that were deleted or never had a turn
 * - after 7 days: the records of ticks and of deleted runs; after a year: audit rows, and API keys that are not valid
 * - after 30 days: batches without runs, and the text of deleted definitions; uses of uploads by runs that do not exist
 * - runs, deliveries and mails that their lanes keep no longer, and kept answers of models after their time
 * - model calls of deleted budgets and of past periods, budgets of single end users whose period is over or whose template is gone, what belongs to deleted
 *   tenants, and what tenants keep for a time of their own
 *
 * It also adds and drops partitions of the journal, and gives back the bytes that were reserved for files which cannot be committed any
 * more. The counters of deleted workers are added to the common sums.
 * A part that fails does not stop the others.
 * @returns true when more expired rows may be left: at least one table gave a full batch
 */
export function deleteExpired(sql: Sql): Promise<boolean> {
  return partsInTurn([
    ["rows", () => deleteExpiredRows(sql)],
    ["counters", () => foldCounters(sql).then(() => false)],
    ["tenants", () => deleteOfTenants(sql)],
    ["deliveries", () => deleteDeliveries(sql)],
    ["mails", () => deleteMails(sql)],
    ["user_budgets", () => deleteUserBudgets(sql)],
    ["policies", () => applyRetention(sql)],
    ["files", () => releaseFiles(sql)],
    ["lanes", () => deleteRunsOfLanes(sql)],
    ["batches", () => deleteBatches(sql)],
    ["upload_uses", () => deleteUnusedUses(sql)],
    ["definitions", () => emptyDeleted(sql)],
    ["journal_days", () => keepJournalDays(sql)],
  ]);
}

/** Deletes rows of tables that need one condition. @returns true when at least one of them gave a full batch */
async function deleteExpiredRows(sql: Sql): Promise<boolean> {
  const [row] = await sql<{ largest_batch: number }[]>`
    with deleted_workers as (
      delete from workers w where beat_at < now() - interval '1 day'
        and not exists (select from runs r where r.owner = w.incarnation and r.status = 'running')
    ), deleted_calls as (
      delete from budget_calls c where not exists (
        select from budgets b where b.tenant_id = c.tenant_id and b.budget_id = c.budget_id
          and c.period_start >= budget_period_start(b.period))
    ), deleted_keys as (
      delete from idempotency_keys where (tenant_id, key) in (
        select tenant_id, key from idempotency_keys where created_at < now() - interval '24 hours'
        order by created_at limit ${BATCH})
      returning 1
    ), deleted_audit as (
      delete from audit where audit_id in (
        select audit_id from audit where at < now() - interval '365 days' order by at limit ${BATCH})
      returning 1
    ), deleted_api_keys as (
      -- No row of the audit names them any more.
      delete from api_keys where key_hash in (
        select key_hash from api_keys where least(revoked_at, expires_at) < now() - interval '365 days'
        order by least(revoked_at, expires_at) limit ${BATCH})
      returning 1
    ), deleted_sessions as (
      delete from chat_sessions where session_id in (
        (select session_id from chat_sessions where deleted_at < now() - interval '1 day' limit ${BATCH})
        union all
        (select session_id from chat_sessions
         where newest_base = '' and created_at < now() - interval '1 day' limit ${BATCH}))
      returning session_id
    ), forgotten_runs as (
      -- The sweep of the bucket has deleted their objects.
      delete from deleted_runs where run_id in (
        select run_id from deleted_runs where deleted_at < ${sweptBefore(sql)} order by deleted_at limit ${BATCH})
      returning 1
    ), deleted_messages as (
      -- Messages that a turn added while its session was being deleted.
      delete from chat_messages m using deleted_sessions d where m.session_id = d.session_id
    ), deleted_answers as (
      delete from kept_answers where (tenant_id, request_hash) in (
        select tenant_id, request_hash from kept_answers where expires_at < now() order by expires_at limit ${BATCH})
      returning 1
    ), deleted_ticks as (
      delete from schedule_ticks where (tenant_id, schedule_id, tick_at) in (
        select tenant_id, schedule_id, tick_at from schedule_ticks where recorded_at < now() - interval '7 days'
        order by recorded_at limit ${BATCH})
      returning 1
    )
    select greatest((select count(*) from deleted_keys), (select count(*) from deleted_audit), (select count(*) from deleted_api_keys),
      (select count(*) from deleted_sessions), (select count(*) from deleted_ticks), (select count(*) from deleted_answers), (select count(*) from forgotten_runs))::int as largest_batch`;
  return (row?.largest_batch ?? 0) >= BATCH;
}
