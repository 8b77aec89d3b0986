import { z } from "zod";
import { Incarnation, RunId } from "../../contracts/ids.ts";
import { ChangedLanes } from "../../contracts/lane-settings.ts";
import { StoredSetting, WORKER_SETTINGS } from "../../contracts/setting.ts";
import { Lane } from "../../contracts/run.ts";
import { SILENCE_MARGIN_MS } from "../../timing.ts";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";

/** What a worker reports of itself with each beat. */
export const Beat = z.object({
  incarnation: Incarnation,
  worker_id: z.string(),
  hostname: z.string(),
  address: z.string(),
  /** The id of its process on its host. A worker of an earlier version does not send it. */
  pid: z.number().int().optional(),
  status: z.enum(["online", "draining", "offline"]),
  /** The lanes whose runs it claims. */
  lanes: z.array(Lane).min(1),
  slots: z.number().int(),
  active: z.number().int(),
  loop_lag_ms: z.number().int(),
  /** Whether it can reach the queue. */
  redis_ok: z.boolean(),
  /** The time without a beat after which the worker is silent. A worker of a version that does not send it beats every 5 s. */
  silent_after_ms: z.number().int().default(12_000),
  /** Counts a silence, so that claims of this worker that are still on their way claim nothing. An edge of an earlier version ignores it. */
  voids_claims: z.boolean().exactOptional(),
});
export type Beat = z.infer<typeof Beat>;

/** A running run whose owner is the beating worker. */
export const OwnedRun = z.object({
  run_id: RunId,
  attempt: z.number(),
  signals: z.number(),
  cancel: z.boolean(),
  /** A budget applies to the run. An edge of a version without budgets does not send it. */
  has_budget: z.boolean().default(false),
  /** For log lines. An edge of an earlier version does not say them. */
  tenant_id: z.string().exactOptional(),
  traceparent: z.string().nullable().exactOptional(),
});
export type OwnedRun = z.infer<typeof OwnedRun>;

/**
 * The reply to a beat. `owned`: all running runs that the worker owns; it must stop an execution of a run that is not among
 * them. `silences`: how often it was silent so far, which its next claims name. Null: an edge of a version that does not
 * count them. `drain`: an operator has asked the worker to drain. `lanes`: the settings of lanes that operators have changed; an
 * edge of an earlier version sends none. `settings`: those of WORKER_SETTINGS that operators have set, in the same way.
 */
export const BeatReply = z.object({
  silences: z.number().int().nullable(),
  drain: z.boolean().default(false),
  lanes: ChangedLanes.exactOptional(),
  settings: z.array(StoredSetting).exactOptional(),
  owned: z.array(OwnedRun),
});
export type BeatReply = z.infer<typeof BeatReply>;

/** A worker's sign of life (docs/protocol.md 5.3). */
export async function beat(sql: Sql, worker: Beat): Promise<BeatReply> {
  const [row] = await sql`
    with beaten as (
      insert into workers (incarnation, worker_id, hostname, address, status, lanes, slots, active,
        loop_lag_ms, redis_ok, silent_after, pid)
      values (${worker.incarnation}, ${worker.worker_id}, ${worker.hostname}, ${worker.address}, ${worker.status},
        ${pgArray(worker.lanes)}::text[], ${worker.slots}, ${worker.active}, ${worker.loop_lag_ms}, ${worker.redis_ok},
        ${worker.silent_after_ms} * interval '1 millisecond', ${worker.pid ?? null})
      on conflict (incarnation) do update set status = excluded.status, lanes = excluded.lanes,
        slots = excluded.slots, active = excluded.active, loop_lag_ms = excluded.loop_lag_ms, redis_ok = excluded.redis_ok,
        silent_after = excluded.silent_after, pid = excluded.pid, beat_at = now(),
        silences = workers.silences
          + (${worker.voids_claims ?? false}::boolean
            or workers.beat_at + workers.silent_after < clock_timestamp() + ${SILENCE_MARGIN_MS} * interval '1 millisecond')::int
      returning silences, drain_requested_at is not null as drain
    )
    select silences, drain, (select coalesce(json_object_agg(lane, settings), '{}') from lanes) as lanes, (
      select coalesce(json_agg(json_build_object('name', name, 'value', value) order by name), '[]') from settings
      where name = any(${pgArray(WORKER_SETTINGS)}::text[])) as settings, (
      select coalesce(json_agg(json_build_object('run_id', run_id, 'attempt', attempt, 'signals', signals,
        'tenant_id', tenant_id, 'traceparent', traceparent,
        'cancel', cancel_requested_at is not null, 'has_budget', exists (select from budgets)
          and reserves_calls(tenant_id, run_id, orchestration_id, end_user, cost_limit_micro_usd))), '[]')
      from runs where owner = ${worker.incarnation} and status = 'running') as owned
    from beaten`;
  return BeatReply.parse(row);
}
