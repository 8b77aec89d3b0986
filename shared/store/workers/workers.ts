import { z } from "zod";
import { Incarnation, RunId } from "../../contracts/ids.ts";
import { Lane } from "../../contracts/run.ts";
import { SILENT_SECONDS } from "../runs/claim.ts";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";

/** What a worker says of itself with each beat. */
export const Beat = z.object({
  incarnation: Incarnation,
  worker_id: z.string(),
  hostname: z.string(),
  address: z.string(),
  status: z.enum(["online", "draining", "offline"]),
  /** The lanes it takes runs of. */
  lanes: z.array(Lane).min(1),
  slots: z.number().int(),
  active: z.number().int(),
  loop_lag_ms: z.number().int(),
  /** Whether it can reach the queue. */
  redis_ok: z.boolean(),
});
export type Beat = z.infer<typeof Beat>;

/** A run that Postgres says belongs to the worker that beats. */
export const OwnedRun = z.object({
  run_id: RunId,
  attempt: z.number(),
  signals: z.number(),
  cancel: z.boolean(),
});
export type OwnedRun = z.infer<typeof OwnedRun>;

/** Says that a worker lives, and answers all that it owns: what it executes and is not there, it must stop. */
export async function beat(sql: Sql, worker: Beat): Promise<OwnedRun[]> {
  return sql<OwnedRun[]>`
    with alive as (
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

/**
 * A worker as operators see it. `status` is silent as soon as its runs may be taken over, and offline when it has said so
 * or nothing was heard of it for 90 s: then it has no work, whatever it said last.
 */
export type WorkerRow = {
  incarnation: string;
  worker_id: string;
  hostname: string;
  address: string;
  status: "online" | "draining" | "silent" | "offline";
  lanes: Lane[];
  slots: number;
  active: number;
  loop_lag_ms: number;
  beat_at_ms: number;
  registered_at_ms: number;
};

/** The workers of the last day, the newest first; one row for each life of a process. */
export async function listWorkers(sql: Sql): Promise<WorkerRow[]> {
  return sql<WorkerRow[]>`
    select incarnation, worker_id, hostname, address, to_json(lanes) as lanes, slots, loop_lag_ms, shown.status,
      case when shown.status = 'offline' then 0 else active end as active,
      extract(epoch from beat_at)::float8 * 1000 as beat_at_ms,
      extract(epoch from registered_at)::float8 * 1000 as registered_at_ms
    from workers w
    cross join lateral (
      select case
        when w.status = 'offline' or beat_at < now() - interval '90 seconds' then 'offline'
        when beat_at < now() - ${SILENT_SECONDS} * interval '1 second' then 'silent'
        else w.status
      end as status) shown
    where beat_at > now() - interval '1 day'
    order by registered_at desc limit 1000`;
}
