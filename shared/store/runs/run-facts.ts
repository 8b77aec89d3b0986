import { z } from "zod";
import { jsonText } from "../../contracts/json.ts";
import { RunId } from "../../contracts/ids.ts";
import type { TenantId } from "../../contracts/ids.ts";
import { Lane, RunError, RunStatus } from "../../contracts/run.ts";
import { ofDays } from "../journal/journal-days.ts";
import type { Sql } from "../sql.ts";
import { activeWorkers } from "../workers/worker-rows.ts";
import { WaitKind } from "./waits.ts";

/** `ahead` stops at this number. */
const MAX_AHEAD = 10_000;
/** The most open waits that are read. */
const MAX_WAITS = 100;

const ms = z.number().nullable();

/**
 * All facts from which `explain` (edge/runs/explain.ts) derives why a run does not progress. Times in milliseconds since
 * 1970, by Postgres' clock.
 */
export const RunFacts = z.object({
  now_ms: z.number(),
  tenant_id: z.string(),
  status: RunStatus,
  lane: Lane,
  attempt: z.number(),
  owner: z.string().nullable(),
  cancel_requested: z.boolean(),
  error: jsonText(RunError).nullable(),
  queued_at_ms: z.number(),
  ended_at_ms: ms,
  wake_at_ms: ms,
  deadline_at_ms: ms,
  /** The owner's last beat; null: the run has no owner, or the owner has no row. */
  beat_at_ms: ms,
  /** The time at which that owner becomes silent if it does not beat before. */
  silent_at_ms: ms,
  /** The journal's last entry; `park` is the JSON text of a ParkRecord. */
  last_at_ms: ms,
  park: z.string().nullable(),
  /** The last event line of that entry, when it is a `step_retry`: a worker holds the run until the next try. */
  held_retry: z.string().nullable(),
  /** The run that has its singleton key, while this run waits for it. */
  key_holder: z.string().nullable(),
  /** The open waits of the run, the oldest first. */
  waits: z.array(
    z.object({
      kind: WaitKind,
      wait_id: z.string(),
      step_id: z.string(),
      child_run_id: z.string().nullable(),
      opened_at_ms: z.number(),
      deadline_at_ms: ms,
      /** Of a wait for a budget, as JSON texts: the BudgetWait, and the prompt that says why. */
      for_budget: z.string().nullish(),
      why: z.string().nullish(),
    }),
  ),
  /** Of a chat turn: the first turn of its session that has not ended, if that is an earlier one. */
  turn_before: RunId.nullable(),
  tenant_disabled: z.boolean(),
  /** The limit that holds: 0 while the tenant is disabled. */
  max_concurrent_runs: z.number(),
  tenant_running: z.number(),
  /** Due runs of its tenant and lane that are claimed before it. */
  ahead: z.number(),
  /** Workers that claim runs, whatever their lanes. */
  workers_online: z.number(),
  /** The number of those of them that serve its lane, their slots, and how many of these slots are taken. */
  workers_of_lane: z.number(),
  slots: z.number(),
  slots_taken: z.number(),
  /** The most starts of its lane in a second that an operator has set; null: none. */
  lane_rate: z.number().nullable(),
});
export type RunFacts = z.infer<typeof RunFacts>;

/**
 * The facts of one run; null when that tenant has no such run.
 * @param tenant null: any tenant, for a platform key
 */
export async function readRunFacts(sql: Sql, tenant: TenantId | null, run: RunId): Promise<RunFacts | null> {
  const [row] = await sql`
    select extract(epoch from now())::float8 * 1000 as now_ms,
      r.tenant_id, r.status, r.lane, r.attempt, r.owner, r.cancel_requested_at is not null as cancel_requested, r.error,
      extract(epoch from r.queued_at)::float8 * 1000 as queued_at_ms,
      extract(epoch from r.ended_at)::float8 * 1000 as ended_at_ms,
      extract(epoch from r.wake_at)::float8 * 1000 as wake_at_ms,
      extract(epoch from r.deadline_at)::float8 * 1000 as deadline_at_ms,
      extract(epoch from w.beat_at)::float8 * 1000 as beat_at_ms,
      extract(epoch from silent_at(w))::float8 * 1000 as silent_at_ms,
      extract(epoch from last.at)::float8 * 1000 as last_at_ms,
      case when last.kind = 'park' then last.output end as park,
      case when last.kind = 'note' then (
        select line from (select substring(last.events from '[^\n]*$') as line) l where line like '{"type":"step_retry",%'
      ) end as held_retry,
      q.waits,
      (select o.run_id from runs o where o.chat_session = r.chat_session and o.ended_at is null
          and right(o.run_id, 13) < right(r.run_id, 13) order by right(o.run_id, 13) limit 1) as turn_before,
      case when r.singleton_key is not null and r.status = 'queued' and r.wake_at > now() + interval '50 years' then (
        select h.run_id from singleton_holders h where h.tenant_id = r.tenant_id and h.singleton_key = r.singleton_key
      ) end as key_holder,
      t.disabled_at is not null as tenant_disabled, t.max_concurrent_runs,
      (select count(*)::int from runs o where o.status = 'running' and o.tenant_id = r.tenant_id) as tenant_running,
      case when r.status = 'queued' then (
        select count(*)::int from (
          select from runs o
          where o.tenant_id = r.tenant_id and o.status = 'queued' and o.wake_at <= now() and o.lane = r.lane
            and (o.queued_at - o.priority * interval '1 minute', o.run_id)
              < (r.queued_at - r.priority * interval '1 minute', r.run_id)
          limit ${MAX_AHEAD}) o
      ) else 0 end as ahead,
      fleet.online as workers_online, fleet.of_lane as workers_of_lane, fleet.slots, fleet.active as slots_taken,
      (select (l.settings ->> 'starts_per_second')::float8 from lanes l where l.lane = r.lane) as lane_rate
    from runs r
    join tenants t using (tenant_id)
    left join workers w on w.incarnation = r.owner
    left join lateral (
      select j.kind, j.output, j.at, j.events from journal j where j.run_id = r.run_id and ${ofDays(sql, [run], "j")} order by j.seq desc limit 1
    ) last on true
    cross join lateral (
      select coalesce(json_agg(open order by opened_at_ms, wait_id), '[]') as waits from (
        select kind, wait_id, step_id, child_run_id, extract(epoch from opened_at)::float8 * 1000 as opened_at_ms,
          extract(epoch from deadline_at)::float8 * 1000 as deadline_at_ms,
          case when kind = 'budget' then fields end as for_budget, case when kind = 'budget' then prompt end as why
        from waits w where w.run_id = r.run_id and w.answered_at is null
        order by opened_at, wait_id limit ${MAX_WAITS}) open
    ) q
    cross join lateral (
      select count(*)::int as online, count(*) filter (where r.lane = any(l.lanes))::int as of_lane,
        coalesce(sum(l.slots) filter (where r.lane = any(l.lanes)), 0)::int as slots,
        coalesce(sum(least(l.active, l.slots)) filter (where r.lane = any(l.lanes)), 0)::int as active
      from (${activeWorkers(sql)}) l
    ) fleet
    where r.run_id = ${run} and (${tenant}::text is null or r.tenant_id = ${tenant})`;
  return row ? RunFacts.parse(row) : null;
}
