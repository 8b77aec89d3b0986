import { aboutRun, log, messageOf } from "../../shared/log.ts";
import { enqueueDue, readyJobOf } from "../../shared/queue/due-jobs.ts";
import { jobOf } from "../../shared/queue/job.ts";
import type { RepairDeps } from "./reconciler-deps.ts";
import { StallDetector } from "./stall-detector.ts";

/**
 * docs/protocol.md 7.3, 7.4, 7.10 and 5.10. Guarantees:
 * - a run is queued again 30 s after its worker fell silent, or 30 s after its deadline when its worker beats but does not move it
 * - a chat turn is due once the turns before it have ended, and is cancelled when its session is deleted
 * - a run that waits for a budget is due once that budget has changed
 *
 * These repairs need Postgres alone, so they go on while Redis is unreachable.
 */
export class Reclaim {
  readonly #deps: RepairDeps;
  readonly #owners: StallDetector;
  readonly #overdue: StallDetector;

  constructor(deps: RepairDeps) {
    this.#deps = deps;
    this.#owners = new StallDetector(deps.timing.stallMs);
    this.#overdue = new StallDetector(deps.timing.stallMs);
  }

  /** Starts the observations anew. They count only if Postgres was reachable all the time: an outage must not make a worker look dead. */
  resetObservation(): void {
    this.#owners.resetObservation();
    this.#overdue.resetObservation();
  }

  /** Queues the runs that do not progress. A pass that fails starts the observations anew. */
  async pass(): Promise<void> {
    let isObserving = false;
    try {
      await this.#reclaimFromSilent();
      await this.#reclaimOverdue();
      isObserving = true;
    } finally {
      if (!isObserving) this.resetObservation();
    }
  }

  /** Wakes runs that wait for a budget which has changed. The edge does so after a change, unless it dies or the run parks later. */
  async wakeBudgetWaits(): Promise<void> {
    const { store, queue } = this.#deps;
    const woken = await store.wakeBudgetWaits();
    const queued = woken.filter(({ status }) => status === "queued");
    if (queued.length === 0) return;
    const jobs = queued.map((run) => ({ ...jobOf(run), status: "queued" as const, delayMs: 0 }));
    await this.#notifyQueue(queue.enqueue(jobs));
  }

  async #reclaimFromSilent(): Promise<void> {
    const { store, repairs } = this.#deps;
    const owners = await store.listOwners();
    const stalled = this.#owners.observe(owners.map(({ owner, beat_at }) => [owner, beat_at ?? "never"]));
    for (const { owner, beat_at } of owners) {
      if (!stalled.has(owner)) continue;
      const runs = await store.reclaimFromSilent(owner, beat_at);
      repairs.silent += runs.length;
      if (runs.length > 0) log.warn("reconciler.owner_silent", { owner, runs: runs.length });
      // Ends the owner's leases too: they lapse by the clock of Redis, which may have been set back.
      await this.#notifyQueue(this.#deps.queue.release(runs.map(readyJobOf), owner));
    }
  }

  async #reclaimOverdue(): Promise<void> {
    const { store, repairs } = this.#deps;
    const overdue = await store.listOverdueRuns();
    const stalled = this.#overdue.observe(
      overdue.map((run) => [run.run_id, `${run.attempt} ${run.event_seq} ${run.deadline_at}`]),
    );
    const stuck = overdue.filter((run) => stalled.has(run.run_id));
    if (stuck.length === 0) return;
    const runs = await store.reclaimOverdue(stuck);
    repairs.overdue += runs.length;
    for (const run of runs) log.warn("reconciler.run_overdue", aboutRun(run));
    await this.#notifyQueue(enqueueDue(this.#deps.queue, runs));
  }

  /**
   * Wakes chat turns that wait although no turn is before them, because a worker or an edge died between the end of a turn and `wakeTurns`, and
   * those that a worker is to end as cancelled.
   */
  async wakeTurns(): Promise<void> {
    const { store, repairs } = this.#deps;
    const runs = await store.wakeTurns(null);
    repairs.turns += runs.length;
    await this.#notifyQueue(enqueueDue(this.#deps.queue, runs));
  }

  /** Waits for a call to the queue, which may fail: the due scan enqueues the same runs later. */
  async #notifyQueue(call: Promise<unknown>): Promise<void> {
    await call.catch((error: unknown) => {
      log.warn("reconciler.enqueue_failed", { message: messageOf(error) });
    });
  }
}
