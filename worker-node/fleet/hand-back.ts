import type { Incarnation } from "../../shared/contracts/ids.ts";
import { log, messageOf } from "../../shared/log.ts";
import type { Job } from "../../shared/queue/job.ts";
import type { Queue } from "../../shared/queue/queue.ts";
import type { StateStore } from "../../shared/store/state.ts";
import type { TrackedRuns } from "./tracked-runs.ts";

/**
 * Returns runs that this worker will not finish: Postgres queues them again, then the queue ends their leases. Another
 * worker can claim them at once, and no crash is counted. Never throws: the beats of this process end soon, and then
 * other workers take over what could not be handed back.
 */
export async function handBack(
  deps: { owner: Incarnation; store: StateStore; queue: Queue; tracked: TrackedRuns },
  runs: readonly { job: Job; attempt: number }[],
): Promise<void> {
  const { owner, store, queue, tracked } = deps;
  try {
    const fences = runs.map(({ job, attempt }) => ({ run_id: job.run, attempt }));
    const returned = new Set(await store.handBack(owner, fences));
    // From here on another worker may have their leases. The lease of a run whose step is slow to stop must not be renewed.
    for (const run of returned) tracked.untrack(run);
    const jobs = runs.filter(({ job }) => returned.has(job.run)).map(({ job }) => job);
    const ready = jobs.map((job) => ({ ...job, status: "queued" as const, delayMs: 0 }));
    await queue.release(ready, owner);
    for (const run of returned) log.info("run.handed_back", { run, reason: "drain" });
  } catch (error) {
    log.warn("run.hand_back_failed", { message: messageOf(error) });
  }
}
