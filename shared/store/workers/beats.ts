import { z } from "zod";
import { Incarnation, RunId } from "../../contracts/ids.ts";
import { Lane } from "../../contracts/run.ts";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";

/** What a worker reports of itself with each beat. */
export const Beat = z.object({
  incarnation: Incarnation,
  worker_id: z.string(),
  hostname: z.string(),
  address: z.string(),
  status: z.enum(["online", "draining", "offline"]),
  /** The lanes whose runs it claims. */
  lanes: z.array(Lane).min(1),
  slots: z.number().int(),
  active: z.number().int(),
  loop_lag_ms: z.number().int(),
  /** Whether it can reach the queue. */
  redis_ok: z.boolean(),
});
export type Beat = z.infer<typeof Beat>;

/** A running run whose owner is the beating worker. */
export const OwnedRun = z.object({
  run_id: RunId,
  attempt: z.number(),
  signals: z.number(),
  cancel: z.boolean(),
});
export type OwnedRun = z.infer<typeof OwnedRun>;

/**
 * A worker's sign of life (docs/protocol.md 5.3).
 * @returns all running runs that the worker owns. It must stop an execution of a run that is not among them.
 */
export async function beat(sql: Sql, worker: Beat): Promise<OwnedRun[]> {
  return sql<OwnedRun[]>`
    with beaten as (
      insert into workers (incarnation, worker_id, hostname, address, status, lanes, slots, active,
        loop_lag_ms, redis_ok)
      values (${worker.incarnation}, ${worker.worker_id}, ${worker.hostname}, ${worker.address}, ${worker.status},
        ${pgArray(worker.lanes)}::text[], ${worker.slots}, ${worker.active}, ${worker.loop_lag_ms}, ${worker.redis_ok})
      on conflict (incarnation) do update set status = excluded.status, lanes = excluded.lanes,
        slots = excluded.slots, active = excluded.active, loop_lag_ms = excluded.loop_lag_ms, redis_ok = excluded.redis_ok, beat_at = now()
    )
    select run_id, attempt, signals, cancel_requested_at is not null as cancel
    from runs where owner = ${worker.incarnation} and status = 'running'`;
}
