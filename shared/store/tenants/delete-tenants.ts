import { DEFAULT_FILE_BYTES } from "../../contracts/tenant.ts";
import { PURGE_AFTER_MS } from "../../timing.ts";
import type { PendingQuery, Row, Sql } from "../sql.ts";
import { deleteRuns } from "./delete-runs.ts";

/** The most runs, and the most rows of each other table, that one call deletes. */
const BATCH = 1_000;
/** After this many bytes of journal one call takes no further run. Deleting them takes about a second. */
const BATCH_BYTES = 64 * 1024 * 1024;

/**
 * Deletes a part of what belongs to tenants whose deletion was requested, and marks those of which nothing is left
 * (docs/protocol.md 7.8).
 *
 * A worker that executes a run which is deleted here is fenced: its next flush finds no run. A run that changed between the snapshot of
 * the statement and its lock is left to the next call: the snapshot does not show what was written with the change. A run that was admitted before
 * the request may be committed after it, so a tenant is marked a minute after its request at the earliest.
 * @returns true when something was deleted, so that more may be left
 */
export async function deleteOfTenants(sql: Sql): Promise<boolean> {
  const open = await sql`select from tenants where deleted_at is not null and purged_at is null limit 1`;
  if (open.length === 0) return false;
  const [row] = await sql<{ deleted: number }[]>`
    with deleting as materialized (
      select tenant_id from tenants where deleted_at is not null and purged_at is null order by deleted_at limit 10
    ), locked as (
      -- Rows are compared, and the limit is a literal: see list-runs.ts.
      select r.run_id, r.journal_bytes, r.version from deleting d cross join lateral (
        select run_id, journal_bytes, xmin as version from runs
        where (tenant_id, run_id) > (d.tenant_id, '') and tenant_id <= d.tenant_id
        order by tenant_id, run_id limit 1000 for update skip locked
      ) r
    ), doomed as materialized (
      select run_id from (
        select run_id, sum(l.journal_bytes) over (order by run_id) - l.journal_bytes as bytes_before
        from locked l join runs as_seen using (run_id) where as_seen.xmin = l.version
      ) r where bytes_before < ${BATCH_BYTES} limit ${BATCH}
    ), ${deleteRuns(sql)}, deleted_usage as (delete from usage where run_id in (select run_id from doomed)
    ), deleted_older_usage as (
      -- That of runs which retention has deleted before.
      ${someOf(sql, sql`usage`, sql`run_id, seq, call`)}
    ), forgotten_runs as (
      ${someOf(sql, sql`deleted_runs`, sql`run_id`)}
    ), deleted_deliveries as (
      ${someOf(sql, sql`webhook_deliveries`, sql`delivery_id`)}
    ), deleted_mails as (
      ${someOf(sql, sql`mails`, sql`message_id`)}
    ), deleted_mail_servers as (
      delete from mail_servers where tenant_id in (select tenant_id from deleting) returning 1
    ), deleted_provider_keys as (
      delete from provider_keys where tenant_id in (select tenant_id from deleting) returning 1
    ), deleted_endpoints as (
      delete from webhook_endpoints where tenant_id in (select tenant_id from deleting) returning 1
    ), deleted_idempotency_keys as (
      ${someOf(sql, sql`idempotency_keys`, sql`tenant_id, key`)}
    ), deleted_versions as (
      ${someOf(sql, sql`orchestration_versions`, sql`tenant_id, id, version`)}
    ), deleted_orchestrations as (
      delete from orchestrations where tenant_id in (select tenant_id from deleting) returning 1
    ), deleted_agents as (delete from agents where tenant_id in (select tenant_id from deleting) returning 1
    ), deleted_tools as (delete from tools where tenant_id in (select tenant_id from deleting) returning 1
    ), deleted_mcp_servers as (
      delete from mcp_servers where tenant_id in (select tenant_id from deleting) returning 1
    ), doomed_sessions as materialized (
      select session_id from chat_sessions where tenant_id in (select tenant_id from deleting) limit ${BATCH}
    ), deleted_messages as (
      delete from chat_messages where session_id in (select session_id from doomed_sessions)
    ), deleted_sessions as (
      delete from chat_sessions where session_id in (select session_id from doomed_sessions) returning 1
    ), deleted_holders as (
      ${someOf(sql, sql`singleton_holders`, sql`tenant_id, singleton_key`)}
    ), deleted_batches as (
      ${someOf(sql, sql`batches`, sql`batch_id`)}
    ), deleted_schedules as (
      delete from schedules where tenant_id in (select tenant_id from deleting) returning 1
    ), deleted_ticks as (
      ${someOf(sql, sql`schedule_ticks`, sql`tenant_id, schedule_id, tick_at`)}
    ), deleted_triggers as (
      delete from triggers where tenant_id in (select tenant_id from deleting) returning 1
    ), deleted_uploads as (
      ${someOf(sql, sql`uploads`, sql`upload_id`)}
    ), deleted_budgets as (
      ${someOf(sql, sql`budgets`, sql`tenant_id, budget_id`)}
    ), deleted_charges as (
      ${someOf(sql, sql`budget_calls`, sql`run_id, call, tenant_id, budget_id`)}
    ), deleted_counters as (
      -- Not counted below: a worker reports its values again until it ends.
      delete from metric_counters where labels->>'tenant_id' in (select tenant_id from deleting)
    ), deleted_segments as (
      -- Their objects are below the tenant's prefix.
      ${someOf(sql, sql`journal_segments`, sql`segment_id`)}
    ), dequeued_journals as (
      ${someOf(sql, sql`journals_to_archive`, sql`tenant_id, ended_at, run_id`)}
    ), deleted_answers as (
      delete from kept_answers where tenant_id in (select tenant_id from deleting) returning 1
    ), deleted_keys as (
      delete from api_keys where tenant_id in (select tenant_id from deleting) returning 1
    ), counted as (
      select (select count(*) from deleted_runs_rows) + (select count(*) from deleted_older_usage) + (select count(*) from forgotten_runs) + (select count(*) from deleted_deliveries)
        + (select count(*) from deleted_endpoints) + (select count(*) from deleted_mails)
        + (select count(*) from deleted_mail_servers) + (select count(*) from deleted_provider_keys)
        + (select count(*) from deleted_idempotency_keys) + (select count(*) from deleted_versions)
        + (select count(*) from deleted_orchestrations) + (select count(*) from deleted_agents)
        + (select count(*) from deleted_tools) + (select count(*) from deleted_mcp_servers)
        + (select count(*) from deleted_sessions) + (select count(*) from deleted_holders)
        + (select count(*) from deleted_batches) + (select count(*) from deleted_schedules)
        + (select count(*) from deleted_ticks) + (select count(*) from deleted_triggers)
        + (select count(*) from deleted_uploads) + (select count(*) from deleted_budgets)
        + (select count(*) from deleted_charges)
        + (select count(*) from deleted_segments) + (select count(*) from dequeued_journals)
        + (select count(*) from deleted_answers) + (select count(*) from deleted_keys) as deleted
    ), purged as (
      -- These limits hold for a tenant that is created anew under this id. Until then its maxima are 0.
      update tenants t set purged_at = now(), objects_before = now(), objects_after = null, objects_left = false, name = '', weight = 1, retention = '{}',
        max_artifact_bytes = ${DEFAULT_FILE_BYTES}::bigint, max_total_artifact_bytes = default, runs_per_minute = default, max_open_streams = default,
        enabled_concurrent_runs = 100, enabled_queued_runs = 1000
      from counted
      where counted.deleted = 0 and t.deleted_at < now() - ${PURGE_AFTER_MS} * interval '1 millisecond' and t.purged_at is null
        and not exists (select from runs r where r.tenant_id = t.tenant_id)
    )
    select deleted::int from counted`;
  return (row?.deleted ?? 0) > 0;
}

/** Deletes a batch of the rows of a table with this key that belong to the tenants of the CTE `deleting`. Returns a row for each. */
function someOf(sql: Sql, table: PendingQuery<Row[]>, key: PendingQuery<Row[]>): PendingQuery<Row[]> {
  return sql`
      delete from ${table} where (${key}) in (
        select ${key} from ${table} where tenant_id in (select tenant_id from deleting) limit ${BATCH})
      returning 1`;
}
