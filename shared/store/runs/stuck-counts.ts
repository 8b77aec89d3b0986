import type { Lane } from "../../contracts/run.ts";
import type { Sql } from "../sql.ts";
import { activeWorkers } from "../workers/worker-rows.ts";

/** Counts of all work that does not progress. Each count stops at 1,000. The names are those of the API. */
export type StuckCounts = {
  /** Running runs whose deadline passed more than 60 s ago. */
  overdue: number;
  /** Running runs whose owner has not beaten for more than 60 s. */
  owner_silent: number;
  /** Runs that have been due for more than 60 s without a claim: there is a backlog, or no worker. */
  unclaimed: number;
  /**
   * Lanes without an active worker, and the runs that wait there: counted among the 1,000 runs that have been due the
   * longest. Runs of other lanes are claimed, so in time all runs of such a lane are among these 1,000.
   */
  no_worker: { lane: Lane; runs: number }[];
  /** Deliveries that have been due for more than 60 s: no worker sends them. */
  undelivered: number;
};

/** Counts by the partial indexes on running and due runs: the cost does not grow with the backlog. */
export async function readStuckCounts(sql: Sql): Promise<StuckCounts> {
  const [row] = await sql<StuckCounts[]>`
    select
      (select count(*)::int from (
        select from runs where status = 'running' and deadline_at < now() - interval '60 seconds' limit 1000) a) as overdue,
      (select count(*)::int from (
        select from runs r where r.status = 'running' and not exists (
          select from workers w where w.incarnation = r.owner and w.beat_at > now() - interval '60 seconds')
        limit 1000) b) as owner_silent,
      (select count(*)::int from (
        select from runs where status in ('queued', 'paused') and wake_at < now() - interval '60 seconds'
        limit 1000) c) as unclaimed,
      (select coalesce(json_agg(d order by d.lane), '[]') from (
        select due.lane, count(*)::int as runs from (
          select lane from runs where status in ('queued', 'paused') and wake_at <= now()
          order by wake_at, run_id limit 1000) due
        where not exists (select from (${activeWorkers(sql)}) l where due.lane = any(l.lanes))
        group by due.lane) d) as no_worker,
      (select count(*)::int from (
        select from webhook_deliveries where done_at is null and next_at < now() - interval '60 seconds'
        limit 1000) e) as undelivered`;
  if (!row) throw new Error("a select without from returned no row");
  return row;
}

/**
 * The number of runs that no repair has reached in time, as far as the tables show: running runs 60 s past their
 * deadline, or without a beat of their owner for 90 s, and paused runs 60 s past their wake-up. Each limit is longer
 * than its repair takes. The metric `synapse_runs_without_wakeup` includes it.
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
