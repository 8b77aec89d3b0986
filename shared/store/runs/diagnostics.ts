import { z } from "zod";
import type { RunId, TenantId } from "../../contracts/ids.ts";
import { Lane, RunError, RunStatus } from "../../contracts/run.ts";
import { SILENT_SECONDS } from "./claim.ts";
import type { PendingQuery, Row, Sql } from "../sql.ts";
import { WaitKind } from "./waits.ts";

/** Runs ahead are counted up to here. */
const MOST_AHEAD = 10_000;

const ms = z.number().nullable();

/** All that decides why a run does not move. Times in milliseconds since 1970, by the clock of Postgres. */
export const WhyFacts = z.object({
  now_ms: z.number(),
  tenant_id: z.string(),
  status: RunStatus,
  lane: Lane,
  attempt: z.number(),
  owner: z.string().nullable(),
  cancel_requested: z.boolean(),
  error: z
    .string()
    .nullable()
    .transform((text) => (text === null ? null : RunError.parse(JSON.parse(text)))),
  queued_at_ms: z.number(),
  ended_at_ms: ms,
  wake_at_ms: ms,
  deadline_at_ms: ms,
  /** Of the owner; null: there is none, or nobody knows it. */
  beat_at_ms: ms,
  /** The journal's last entry; `park` is the JSON text of a ParkRecord. */
  last_at_ms: ms,
  park: z.string().nullable(),
  /** What a paused run waits to have answered first. */
  wait_kind: WaitKind.nullable(),
  wait_step: z.string().nullable(),
  wait_opened_at_ms: ms,
  max_concurrent_runs: z.number(),
  tenant_running: z.number(),
  /** Due runs of its tenant and lane that come before it. */
  ahead: z.number(),
  /** Workers that live and take work, whatever their lanes. */
  workers_online: z.number(),
  /** Those of them that serve its lane, and their slots. */
  workers_of_lane: z.number(),
  slots: z.number(),
  slots_taken: z.number(),
});
export type WhyFacts = z.infer<typeof WhyFacts>;

/** The facts of one run of a tenant (null: of any); null when there is none. */
export async function readWhy(sql: Sql, tenant: TenantId | null, run: RunId): Promise<WhyFacts | null> {
  const [row] = await sql`
    select extract(epoch from now())::float8 * 1000 as now_ms,
      r.tenant_id, r.status, r.lane, r.attempt, r.owner, r.cancel_requested_at is not null as cancel_requested, r.error,
      extract(epoch from r.queued_at)::float8 * 1000 as queued_at_ms,
      extract(epoch from r.ended_at)::float8 * 1000 as ended_at_ms,
      extract(epoch from r.wake_at)::float8 * 1000 as wake_at_ms,
      extract(epoch from r.deadline_at)::float8 * 1000 as deadline_at_ms,
      extract(epoch from w.beat_at)::float8 * 1000 as beat_at_ms,
      extract(epoch from last.at)::float8 * 1000 as last_at_ms,
      case when last.kind = 'park' then last.output end as park,
      q.kind as wait_kind, q.step_id as wait_step, extract(epoch from q.opened_at)::float8 * 1000 as wait_opened_at_ms,
      t.max_concurrent_runs,
      (select count(*)::int from runs o where o.status = 'running' and o.tenant_id = r.tenant_id) as tenant_running,
      case when r.status = 'queued' then (
        select count(*)::int from (
          select from runs o
          where o.tenant_id = r.tenant_id and o.status = 'queued' and o.wake_at <= now() and o.lane = r.lane
            and (o.queued_at - o.priority * interval '1 minute', o.run_id)
              < (r.queued_at - r.priority * interval '1 minute', r.run_id)
          limit ${MOST_AHEAD}) o
      ) else 0 end as ahead,
      fleet.online as workers_online, fleet.of_lane as workers_of_lane, fleet.slots, fleet.active as slots_taken
    from runs r
    join tenants t using (tenant_id)
    left join workers w on w.incarnation = r.owner
    left join lateral (
      select j.kind, j.output, j.at from journal j where j.run_id = r.run_id order by j.seq desc limit 1
    ) last on true
    left join lateral (
      select kind, step_id, opened_at from waits q where q.run_id = r.run_id and q.answered_at is null
      order by q.opened_at, q.wait_id limit 1
    ) q on true
    cross join lateral (
      select count(*)::int as online, count(*) filter (where r.lane = any(l.lanes))::int as of_lane,
        coalesce(sum(l.slots) filter (where r.lane = any(l.lanes)), 0)::int as slots,
        coalesce(sum(l.active) filter (where r.lane = any(l.lanes)), 0)::int as active
      from (${liveWorkers(sql)}) l
    ) fleet
    where r.run_id = ${run} and (${tenant}::text is null or r.tenant_id = ${tenant})`;
  return row ? WhyFacts.parse(row) : null;
}

/** Workers that take work: heard of since they could be taken for silent, and not draining. */
function liveWorkers(sql: Sql): PendingQuery<Row[]> {
  return sql`
    select lanes, slots, active from workers
    where status = 'online' and beat_at > now() - ${SILENT_SECONDS} * interval '1 second'`;
}

/** What of the whole system does not move; each count stops at 1,000. */
export type Stuck = {
  /** Running, and nothing shown until the deadline, by more than 60 s. */
  overdue: number;
  /** Running, and nothing heard of the worker for more than 60 s. */
  owner_silent: number;
  /** Due for more than 60 s and claimed by nobody: a backlog, or no worker. */
  unclaimed: number;
  /**
   * Lanes that no live worker serves, with the runs that wait there: of the 1,000 that are due the longest, among
   * which they all come to be, as others are claimed.
   */
  no_worker: { lane: Lane; runs: number }[];
  /** Deliveries of webhooks that have been due for more than 60 s: no worker sends them. */
  untold: number;
};

/** Counts by the partial indexes on what runs and what is due: the cost does not grow with the backlog. */
export async function readStuck(sql: Sql): Promise<Stuck> {
  const [row] = await sql<Stuck[]>`
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
        where not exists (select from (${liveWorkers(sql)}) l where due.lane = any(l.lanes))
        group by due.lane) d) as no_worker,
      (select count(*)::int from (
        select from webhook_deliveries where done_at is null and next_at < now() - interval '60 seconds'
        limit 1000) e) as untold`;
  if (!row) throw new Error("a select without from answered no row");
  return row;
}
