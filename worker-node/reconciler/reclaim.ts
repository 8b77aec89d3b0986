import { log, messageOf } from "../../shared/log.ts";
import { asReady, enqueueDue } from "./parts.ts";
import type { RepairParts } from "./parts.ts";
import { StallDetector } from "./stall-detector.ts";

/**
 * Rules 3 and 4: takes runs from workers that are not heard of, and from those that beat but do not move. Needs
 * Postgres alone, so it goes on while Redis is away.
 */
export class Reclaim {
  readonly #parts: RepairParts;
  readonly #owners = new StallDetector();
  readonly #overdue = new StallDetector();

  constructor(parts: RepairParts) {
    this.#parts = parts;
  }

  /** What was observed counts only while Postgres was in reach throughout: an outage makes nobody dead. */
  forget(): void {
    this.#owners.forget();
    this.#overdue.forget();
  }

  async pass(): Promise<void> {
    await this.#fromSilent();
    await this.#overdueRuns();
  }

  async #fromSilent(): Promise<void> {
    const { store, repairs } = this.#parts;
    const owners = await store.listOwners();
    const still = this.#owners.look(owners.map(({ owner, beat_at }) => [owner, beat_at ?? "never"]));
    for (const { owner, beat_at } of owners) {
      if (!still.has(owner)) continue;
      const runs = await store.reclaimFromSilent(owner, beat_at);
      repairs.silent += runs.length;
      if (runs.length > 0) log.warn("reconciler.owner_silent", { owner, runs: runs.length });
      // Its leases end with it: they lapse by a clock of Redis, which may have been set back.
      await this.#tell(this.#parts.queue.release(runs.map(asReady), owner));
    }
  }

  async #overdueRuns(): Promise<void> {
    const { store, repairs } = this.#parts;
    const overdue = await store.listOverdueRuns();
    const still = this.#overdue.look(
      overdue.map((run) => [run.run_id, `${run.attempt} ${run.event_seq} ${run.deadline_at}`]),
    );
    const stuck = overdue.filter((run) => still.has(run.run_id));
    if (stuck.length === 0) return;
    const runs = await store.reclaimOverdue(stuck);
    repairs.overdue += runs.length;
    for (const run of runs) log.warn("reconciler.run_overdue", { run: run.run_id });
    await this.#tell(enqueueDue(this.#parts.queue, runs));
  }

  /** Tells the queue at once of what has become ready. If it cannot hear, the walk shows it the same later. */
  async #tell(telling: Promise<unknown>): Promise<void> {
    await telling.catch((error: unknown) => {
      log.warn("reconciler.enqueue_failed", { message: messageOf(error) });
    });
  }
}
