import type { Incarnation } from "../../shared/contracts/ids.ts";
import type { Job, JobWait } from "../../shared/queue/job.ts";
import type { IndexProgress } from "../../shared/queue/index-progress.ts";
import type { Queue } from "../../shared/queue/queue.ts";
import type { DueRun } from "../../shared/store/runs/due-runs.ts";
import type { StateStore } from "../../shared/store/state.ts";
import { jobOf } from "../../shared/queue/job.ts";
import type { FileStore } from "../files/file-store.ts";
import type { QueueLinks } from "../fleet/queue-links.ts";
import type { WorkerTiming } from "../fleet/worker-timing.ts";

/** How often this process made each kind of repair. The names are labels of `synapse_repairs_total`. */
export type Repairs = Record<
  "enqueued" | "rebuilt" | "silent" | "overdue" | "limits" | "forgotten" | "stray" | "orphans",
  number
>;

/** What the repairs share. */
export type RepairDeps = {
  owner: Incarnation;
  store: StateStore;
  queue: Queue;
  links: QueueLinks;
  timing: WorkerTiming;
  /** Whether the tenants' `max_*` limits hold in this deployment. */
  isolation: boolean;
  /** Null: this worker has no object store, and leaves what is in it to others. */
  files: FileStore | null;
  /** See Heartbeat. */
  announceQueue(): Promise<void>;
  repairs: Repairs;
};

/** The index of each shard, as a pass found it. */
export type Shards = Map<number, IndexProgress>;

/** The most rows or jobs that one statement or script handles. */
export const PAGE = 1_000;

/** Enqueues runs that are due. @returns how many of them the queue did not know */
export async function enqueueDue(queue: Queue, runs: readonly DueRun[]): Promise<number> {
  if (runs.length === 0) return 0;
  return queue.enqueue(runs.map(readyJobOf));
}

/** The job of a run that is due: ready at once. */
export function readyJobOf(run: DueRun): Job & JobWait {
  return { ...jobOf(run), status: run.status, delayMs: 0 };
}
