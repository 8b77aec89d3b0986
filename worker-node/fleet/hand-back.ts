import type { Incarnation } from "../../shared/contracts/ids.ts";
import { log, messageOf } from "../../shared/log.ts";
import type { LogFields } from "../../shared/log.ts";
import type { Job } from "../../shared/queue/job.ts";
import type { Queue } from "../../shared/queue/queue.ts";
import type { StateStore } from "../../shared/store/state.ts";
import type { TrackedRuns } from "./tracked-runs.ts";

type HandBackDeps = { owner: Incarnation; store: StateStore; queue: Queue; tracked: TrackedRuns };

/** A run that goes back to the queue. `delayMs`: when it is due again. */
export type HandedBack = {
  about: LogFields;
  job: Job;
  attempt: number;
  delayMs: number;
  reason: "drain" | "crash";
};

/**
 * Returns runs that this worker will not finish: Postgres queues them again, then the queue ends their leases. Another
 * worker can claim them when they are due, and no crash is counted. Never throws: the beats of this process end soon, and then
 * other workers take over what could not be handed back.
 */
export async function handBack(
  { owner, store, queue, tracked }: HandBackDeps,
  runs: readonly HandedBack[],
): Promise<void> {
  try {
    const fences = runs.map(({ job, attempt, delayMs }) => ({ run_id: job.run, attempt, delay_ms: delayMs }));
    const returned = new Set(await store.handBack(owner, fences));
    // From here on another worker may have their leases. The lease of a run whose step is slow to stop must not be renewed.
    for (const run of returned) tracked.untrack(run);
    const released = runs.filter(({ job }) => returned.has(job.run));
    const waiting = released.map(({ job, delayMs }) => ({ ...job, status: "queued" as const, delayMs }));
    await queue.release(waiting, owner);
    for (const { about, reason } of released) log.info("run.handed_back", { ...about, reason });
  } catch (error) {
    for (const { about } of runs) log.warn("run.hand_back_failed", { ...about, message: messageOf(error) });
  }
}
