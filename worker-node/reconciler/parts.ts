import type { Incarnation, RunId, TenantId } from "../../shared/contracts/ids.ts";
import type { Lane } from "../../shared/contracts/run.ts";
import { scoreOf } from "../../shared/queue/job.ts";
import type { Job, JobWait } from "../../shared/queue/job.ts";
import type { Queue } from "../../shared/queue/queue.ts";
import type { WaitingRun } from "../../shared/store/runs/reconcile.ts";
import type { StateStore } from "../../shared/store/state.ts";

/** How often each kind of repair was needed, since this process started. */
export type Repairs = Record<
  "enqueued" | "rebuilt" | "silent" | "overdue" | "limits" | "forgotten" | "stray",
  number
>;

/**
 * What every repair works with. `isolation`: whether the tenants' `max_*` limits hold here. `announceQueue`: see Leases.
 */
export type RepairParts = {
  owner: Incarnation;
  store: StateStore;
  queue: Queue;
  isolation: boolean;
  announceQueue(): Promise<void>;
  repairs: Repairs;
};

/** As many rows as one statement or script is asked for. */
export const PAGE = 1_000;

export function jobOf(run: {
  run_id: RunId;
  tenant_id: TenantId;
  lane: Lane;
  queued_at_ms: number;
  priority: number;
}): Job {
  return {
    run: run.run_id,
    tenant: run.tenant_id,
    lane: run.lane,
    score: scoreOf(run.queued_at_ms, run.priority),
  };
}

/** Tells the queue of runs that are due. @returns how many it did not know */
export async function enqueueDue(queue: Queue, runs: readonly WaitingRun[]): Promise<number> {
  if (runs.length === 0) return 0;
  return queue.enqueue(runs.map(asReady));
}

/** A run that is due, as the queue is told of it. */
export function asReady(run: WaitingRun): Job & JobWait {
  return { ...jobOf(run), status: run.status, delayMs: 0 };
}
