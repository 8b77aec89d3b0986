import { z } from "zod";
import { RunId, TenantId } from "../../contracts/ids.ts";
import { Lane } from "../../contracts/run.ts";
import { SILENT_SECONDS } from "./claim.ts";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";

/** A place in an index walk: a Postgres time as text (`-infinity` is one) and a run, so that pages neither skip nor repeat. */
export const ScanPosition = z.object({ at: z.string(), run_id: z.string() });
export type ScanPosition = z.infer<typeof ScanPosition>;

/** A run as the queue has to know it. */
export const WaitingRun = z.object({
  run_id: RunId,
  tenant_id: TenantId,
  lane: Lane,
  priority: z.number(),
  queued_at_ms: z.number(),
  status: z.enum(["queued", "paused"]),
  wake_at: z.string(),
  late_ms: z.number(),
});
export type WaitingRun = z.infer<typeof WaitingRun>;

export const ScanBounds = z.object({
  from: z.string(),
  until: z.string(),
  until_ms: z.number(),
  now_ms: z.number(),
  server: z.string(),
});
export type ScanBounds = z.infer<typeof ScanBounds>;

/**
 * The bounds of a walk over the due index: from 15 s before what a Redis has been shown (`uptoMs`, minus infinity:
 * nothing), so that rows that were committed late, or out of order, are met; to 2 s ago, so that what edges enqueue
 * by themselves a moment after their commit is not shown twice. `uptoMs` may lie ahead: a clock that was set back.
 *
 * `server`: when this Postgres began. Another one may be a standby that took over, without the last seconds.
 */
export async function scanBounds(sql: Sql, uptoMs: number | null): Promise<ScanBounds> {
  const [row] = await sql<ScanBounds[]>`
    select
      coalesce((shown - greatest(shown - now(), interval '0') - interval '15 seconds')::text, '-infinity') as from,
      (now() - interval '2 seconds')::text as until,
      extract(epoch from now() - interval '2 seconds')::float8 * 1000 as until_ms,
      extract(epoch from now())::float8 * 1000 as now_ms,
      pg_postmaster_start_time()::text as server
    from (select to_timestamp(${uptoMs}::float8 / 1000) as shown) s`;
  if (!row) throw new Error("a select without from answered no row");
  return row;
}

/** A page of the runs that are due between two times: what a Redis may not know. */
export async function dueRuns(
  sql: Sql,
  after: ScanPosition,
  until: string,
  limit: number,
): Promise<WaitingRun[]> {
  return sql<WaitingRun[]>`
    select run_id, tenant_id, lane, priority, status, wake_at::text as wake_at,
      floor(extract(epoch from queued_at) * 1000)::float8 as queued_at_ms,
      extract(epoch from now() - wake_at)::float8 * 1000 as late_ms
    from runs r
    where status in ('queued', 'paused') and (wake_at, run_id) > (${after.at}::text::timestamptz, ${after.run_id})
      and wake_at <= ${until}::text::timestamptz
    -- Of the column: bare, the name would mean the text of the answer, and sort all there is as text.
    order by r.wake_at, r.run_id limit ${limit}`;
}

/** A run in a worker's hands, as the queue has to know it. */
export const RunningRun = z.object({
  run_id: RunId,
  tenant_id: TenantId,
  lane: Lane,
  priority: z.number(),
  queued_at_ms: z.number(),
  owner: z.string(),
  /** Its owner has not been heard of: another may have it at once. */
  owner_silent: z.boolean(),
});
export type RunningRun = z.infer<typeof RunningRun>;

/** A page of all running runs, by owner: what a rebuilt Redis is told first, so that no limit is passed. */
export async function runningRuns(
  sql: Sql,
  after: { owner: string; run_id: string },
  limit: number,
): Promise<RunningRun[]> {
  return sql<RunningRun[]>`
    select r.run_id, r.tenant_id, r.lane, r.priority, r.owner,
      floor(extract(epoch from r.queued_at) * 1000)::float8 as queued_at_ms,
      w.incarnation is null or greatest(w.beat_at, pg_postmaster_start_time())
        < now() - ${SILENT_SECONDS} * interval '1 second' as owner_silent
    from runs r left join workers w on w.incarnation = r.owner
    where r.status = 'running' and (r.owner, r.run_id) > (${after.owner}, ${after.run_id})
    order by r.owner, r.run_id limit ${limit}`;
}

/** Everyone who owns runs, with the last beat as text (null: there is no such worker). As many as the fleet has workers. */
export async function listOwners(sql: Sql): Promise<{ owner: string; beat_at: string | null }[]> {
  return sql<{ owner: string; beat_at: string | null }[]>`
    select o.owner, w.beat_at::text as beat_at
    from (select distinct owner from runs where status = 'running') o
    left join workers w on w.incarnation = o.owner`;
}

/**
 * Takes the runs of an owner back whose beat has not moved since it was observed: they are queued again, and the
 * crash counts. At most 1,000 a call.
 */
export async function reclaimFromSilent(
  sql: Sql,
  owner: string,
  observedBeat: string | null,
): Promise<WaitingRun[]> {
  return sql<WaitingRun[]>`
    with silent as (
      select run_id from runs
      where owner = ${owner} and status = 'running' and not exists (
        select from workers w where w.incarnation = ${owner}
          and w.beat_at is distinct from ${observedBeat}::text::timestamptz)
      limit 1000 for update skip locked
    )
    update runs r set status = 'queued', owner = null, wake_at = now(), crash_count = crash_count + 1
    from silent s where r.run_id = s.run_id and r.owner = ${owner}
    returning r.run_id, r.tenant_id, r.lane, r.priority, r.status, r.wake_at::text as wake_at,
      floor(extract(epoch from r.queued_at) * 1000)::float8 as queued_at_ms, 0::float8 as late_ms`;
}

/** A running run whose worker beats but has shown nothing until its deadline, with what must not move meanwhile. */
export const OverdueRun = z.object({
  run_id: RunId,
  attempt: z.number(),
  event_seq: z.number(),
  deadline_at: z.string(),
});
export type OverdueRun = z.infer<typeof OverdueRun>;

export async function overdueRuns(sql: Sql): Promise<OverdueRun[]> {
  return sql<OverdueRun[]>`
    select run_id, attempt, event_seq, deadline_at::text as deadline_at
    from runs where status = 'running' and deadline_at < now() limit 1000`;
}

/** Takes overdue runs back that have not moved since they were observed. */
export async function reclaimOverdue(sql: Sql, observed: readonly OverdueRun[]): Promise<WaitingRun[]> {
  return sql<WaitingRun[]>`
    update runs r set status = 'queued', owner = null, wake_at = now(), crash_count = crash_count + 1
    from unnest(
      ${pgArray(observed.map((o) => o.run_id))}::text[], ${pgArray(observed.map((o) => o.attempt))}::int[],
      ${pgArray(observed.map((o) => o.event_seq))}::int[], ${pgArray(observed.map((o) => o.deadline_at))}::timestamptz[]
    ) as o(run_id, attempt, event_seq, deadline_at)
    where r.run_id = o.run_id and r.status = 'running' and r.attempt = o.attempt and r.event_seq = o.event_seq
      and r.deadline_at = o.deadline_at
    returning r.run_id, r.tenant_id, r.lane, r.priority, r.status, r.wake_at::text as wake_at,
      floor(extract(epoch from r.queued_at) * 1000)::float8 as queued_at_ms, 0::float8 as late_ms`;
}

/** The limits of a tenant as the queue takes them, and when they were changed. */
export const TenantLimits = z.object({
  tenant: TenantId,
  version: z.number(),
  maxConcurrentRuns: z.number(),
  maxQueuedRuns: z.number(),
  requestsPerSecond: z.number(),
  weight: z.number(),
  updated_at: z.string(),
});
export type TenantLimits = z.infer<typeof TenantLimits>;

/** A page of tenants whose limits were changed since a Redis heard of any, the longest ago first. */
export async function changedLimits(
  sql: Sql,
  after: { at: string; tenant: string },
  limit: number,
): Promise<TenantLimits[]> {
  return sql<TenantLimits[]>`
    select tenant_id as tenant, version::float8 as version, max_concurrent_runs as "maxConcurrentRuns",
      max_queued_runs as "maxQueuedRuns", requests_per_second as "requestsPerSecond", weight,
      updated_at::text as updated_at
    from tenants t where (updated_at, tenant_id) > (${after.at}::text::timestamptz, ${after.tenant})
    order by t.updated_at, t.tenant_id limit ${limit}`;
}

/**
 * How many runs nothing will touch again as far as the tables tell: abandoned by their worker, overdue, or paused past
 * their time, each for a minute longer than repair takes.
 */
export async function countWithoutWakeup(sql: Sql): Promise<number> {
  const [row] = await sql<{ n: number }[]>`
    select (
      (select count(*) from runs r left join workers w on w.incarnation = r.owner
       where r.status = 'running' and (
         r.deadline_at < now() - interval '60 seconds'
         or coalesce(greatest(w.beat_at, pg_postmaster_start_time()), '-infinity') < now() - interval '90 seconds'))
      + (select count(*) from runs where status = 'paused' and wake_at < now() - interval '60 seconds')
    )::int as n`;
  return row?.n ?? 0;
}

/** Rows of a kind that one call deletes. */
const FORGOTTEN_AT_ONCE = 10_000;

/**
 * Deletes what nobody needs any more: worker rows that have been silent for a day, idempotency keys that are dead,
 * deliveries that have been done for 30 days. True: there may be more of it.
 */
export async function deleteExpired(sql: Sql): Promise<boolean> {
  const [row] = await sql<{ most: number }[]>`
    with workers_gone as (
      delete from workers w where beat_at < now() - interval '1 day'
        and not exists (select from runs r where r.owner = w.incarnation and r.status = 'running')
    ), deliveries_gone as (
      delete from webhook_deliveries where delivery_id in (
        select delivery_id from webhook_deliveries
        where created_at < now() - interval '30 days' and done_at < now() - interval '30 days'
        order by created_at limit ${FORGOTTEN_AT_ONCE})
      returning 1
    ), keys_gone as (
      delete from idempotency_keys where (tenant_id, key) in (
        select tenant_id, key from idempotency_keys where created_at < now() - interval '24 hours'
        order by created_at limit ${FORGOTTEN_AT_ONCE})
      returning 1
    )
    select greatest((select count(*) from deliveries_gone), (select count(*) from keys_gone))::int as most`;
  return (row?.most ?? 0) >= FORGOTTEN_AT_ONCE;
}
