import { z } from "zod";
import { turnDefinitionId } from "../../contracts/chat.ts";
import { TenantId } from "../../contracts/ids.ts";
import { NO_RETENTION, Retention } from "../../contracts/retention.ts";
import type { PendingQuery, Row, Sql } from "../sql.ts";
import { partsInTurn } from "../parts-in-turn.ts";
import { retireRuns } from "./delete-runs.ts";

/** How many tenants one call examines, and the most that it deletes of one tenant: runs and the bytes of their journals, other rows, versions. */
const TENANTS = 5;
const RUNS = 200;
const RUN_BYTES = 16 * 1024 * 1024;
const ROWS = 5_000;
const VERSIONS = 20;

const Due = z.object({ tenant_id: TenantId, retention: z.unknown() });

/**
 * Applies the retention policies of tenants (docs/protocol.md 7.8). The tenants that were examined longest ago come first. The archive
 * deletes journals, and the sweep of the bucket objects.
 * @returns true when more may be left to delete, or tenants to examine
 */
export async function applyRetention(sql: Sql): Promise<boolean> {
  const rows = await sql`
    update tenants t set retained_at = now() where tenant_id in (
      select tenant_id from tenants
      where retention <> '{}' and deleted_at is null and (retained_at is null or retained_at < now() - interval '4 minutes')
      order by retained_at nulls first limit ${TENANTS} for update skip locked)
    returning tenant_id, ${NO_RETENTION}::text::jsonb || retention as retention`;
  await partsInTurn(
    rows.map((row) => {
      const { tenant_id, retention } = Due.parse(row);
      return [tenant_id, () => applyPolicy(sql, tenant_id, Retention.parse(retention))] as const;
    }),
  );
  return rows.length > 0;
}

/** Applies the policy of a tenant. @returns true when more may be left: the tenant is examined again by the next call */
async function applyPolicy(sql: Sql, tenant: TenantId, policy: Retention): Promise<boolean> {
  const hasMore = await deleteByPolicy(sql, tenant, policy);
  if (hasMore) await sql`update tenants set retained_at = null where tenant_id = ${tenant}`;
  return hasMore;
}

/** Deletes a slice of each table by the policy of a tenant. @returns true when at least one slice was full */
async function deleteByPolicy(sql: Sql, tenant: TenantId, policy: Retention): Promise<boolean> {
  const { runs_days, usage_days, dead_letters_days, deliveries_days, versions } = policy;
  const full = [
    runs_days !== null && (await deleteOldRuns(sql, tenant, runs_days)) === RUNS,
    usage_days !== null && (await deleteOldUsage(sql, tenant, usage_days)) === ROWS,
    dead_letters_days !== null && (await deleteOldLetters(sql, tenant, dead_letters_days)) === ROWS,
    deliveries_days !== null && (await deleteOldDeliveries(sql, tenant, deliveries_days)) === ROWS,
    versions !== null && (await deleteOldVersions(sql, tenant, versions)) === VERSIONS,
  ];
  return full.includes(true);
}

/** Deletes ended runs of that age. A child stays while its parent has not ended. */
function deleteOldRuns(sql: Sql, tenant: TenantId, days: number): Promise<number> {
  return countOf(sql`
    with statuses as (
      select unnest(array['completed', 'failed', 'cancelled']) as status
    ), locked as (
      -- Rows are compared, and the limit is a literal: see list-runs.ts.
      select r.* from statuses s cross join lateral (
        select run_id, tenant_id, journal_bytes, archive_segment from runs r
        where (tenant_id, status, queued_at, run_id) > (${tenant}, s.status, '-infinity', '')
          and (tenant_id, status, queued_at) < (${tenant}, s.status, ${before(sql, days)})
          and ended_at < ${before(sql, days)}
          -- No anti-join: its generic plan may read all runs to find the parents that have not ended.
          and coalesce((select p.ended_at is not null from runs p where p.run_id = r.parent_run_id), true)
        order by tenant_id, status, queued_at, run_id limit 200 for update skip locked
      ) r
    ), doomed as materialized (
      select run_id, tenant_id, archive_segment from (
        select *, sum(journal_bytes) over (order by run_id) - journal_bytes as bytes_before from locked
      ) r where bytes_before < ${RUN_BYTES} limit ${RUNS}
    ), ${retireRuns(sql)}
    select count(*)::int as n from deleted_runs_rows`);
}

/** Whole days of UTC: a report by days shows a day with all of its charges, or not at all. */
function deleteOldUsage(sql: Sql, tenant: TenantId, days: number): Promise<number> {
  const firstDay = sql`(date_trunc('day', now() at time zone 'utc') - ${days}::int * interval '1 day') at time zone 'utc'`;
  return countOf(sql`
    with gone as (
      delete from usage where (run_id, seq, call) in (
        select run_id, seq, call from usage
        where tenant_id = ${tenant} and at < ${firstDay} order by at limit ${ROWS})
        and tenant_id = ${tenant} and at < ${firstDay}
      returning 1)
    select count(*)::int as n from gone`);
}

function deleteOldLetters(sql: Sql, tenant: TenantId, days: number): Promise<number> {
  return countOf(sql`
    with gone as (
      delete from dead_letters where (run_id, seq) in (
        select run_id, seq from dead_letters
        where tenant_id = ${tenant} and failed_at < ${before(sql, days)} order by failed_at limit ${ROWS})
      returning 1)
    select count(*)::int as n from gone`);
}

function deleteOldDeliveries(sql: Sql, tenant: TenantId, days: number): Promise<number> {
  return countOf(sql`
    with gone as (
      delete from webhook_deliveries where delivery_id in (
        select delivery_id from webhook_deliveries
        where tenant_id = ${tenant} and created_at < ${before(sql, days)} and done_at < ${before(sql, days)}
        order by created_at limit ${ROWS})
      returning 1)
    select count(*)::int as n from gone`);
}

/**
 * Deletes all but the newest `keep` versions of each orchestration, and of each agent those with which chat turns have begun. A version
 * that a run is pinned to stays, because the run may be retried; so does each version of an agent that has just changed, because a turn
 * is prepared before it is accepted.
 */
function deleteOldVersions(sql: Sql, tenant: TenantId, keep: number): Promise<number> {
  return countOf(sql`
    with gone as (
      delete from orchestration_versions where (tenant_id, id, version) in (
        select v.tenant_id, v.id, v.version from orchestration_versions v join (
          select tenant_id, id, version from orchestrations where tenant_id = ${tenant}
          union all
          select tenant_id, ${turnDefinitionId("")} || id, version from agents
          where tenant_id = ${tenant} and updated_at < now() - interval '1 minute'
        ) o using (tenant_id, id)
        where v.tenant_id = ${tenant} and v.version <= o.version - ${keep}::int
          and not exists (
            select from runs r where r.tenant_id = v.tenant_id and r.orchestration_id = v.id
              and r.definition_tenant = v.tenant_id and r.definition_version = v.version)
        order by v.id, v.version limit ${VERSIONS})
      returning 1)
    select count(*)::int as n from gone`);
}

function before(sql: Sql, days: number): PendingQuery<Row[]> {
  return sql`now() - ${days}::int * interval '1 day'`;
}

async function countOf(query: PendingQuery<Row[]>): Promise<number> {
  const [row] = await query;
  return Number(row?.["n"] ?? 0);
}
