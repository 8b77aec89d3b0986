import type { RunId, TenantId } from "../contracts/ids.ts";
import type { Lane } from "../contracts/run.ts";
import { jobOf } from "./job.ts";
import type { Job, JobWait } from "./job.ts";
import type { Queue } from "./queue.ts";

/** A queued or paused run. `late_ms`: milliseconds since its wake-up; a negative number: until its wake-up. */
type DueRun = {
  run_id: RunId;
  tenant_id: TenantId;
  lane: Lane;
  priority: number;
  queued_at_ms: number;
  status: JobWait["status"];
  late_ms: number;
};

/** Enqueues runs that are due, or will be. @returns how many of them the queue did not know */
export async function enqueueDue(queue: Queue, runs: readonly DueRun[]): Promise<number> {
  if (runs.length === 0) return 0;
  return queue.enqueue(runs.map(readyJobOf));
}

/** The job of a run that is due, which is ready at once, or of one that will be. */
export function readyJobOf(run: DueRun): Job & JobWait {
  return { ...jobOf(run), status: run.status, delayMs: Math.max(0, -run.late_ms) };
}
