import type { Incarnation } from "../../shared/contracts/ids.ts";
import { log, messageOf } from "../../shared/log.ts";
import type { JobName } from "../../shared/queue/job.ts";
import type { Queue } from "../../shared/queue/queue.ts";

/** The most runs that one claim or one `finish` carries. */
const MAX_RUNS_PER_CALL = 1_000;
/** The most runs that are kept for a shard. More than one call's worth gather only while the queue is unreachable. */
const MAX_RUNS_PER_SHARD = 20_000;

/** Runs that ended in this worker while the queue still counts them as leased. The next claim of their shard, or a `finish`, removes their jobs. */
export class EndedRuns {
  readonly #queue: Queue;
  readonly #owner: Incarnation;
  readonly #byShard = new Map<number, JobName[]>();
  readonly #timers = new Map<number, NodeJS.Timeout>();

  constructor(queue: Queue, owner: Incarnation) {
    this.#queue = queue;
    this.#owner = owner;
  }

  add(shard: number, runs: readonly JobName[]): void {
    const pending = this.#of(shard);
    pending.push(...runs);
    // The oldest are dropped: in a queue that was unreachable for that long their leases have lapsed, or it has lost them.
    pending.splice(0, pending.length - MAX_RUNS_PER_SHARD);
  }

  /** Removes and returns the runs for one call. The caller adds them again when the call fails. */
  take(shard: number): JobName[] {
    return this.#of(shard).splice(0, MAX_RUNS_PER_CALL);
  }

  /** Finishes the shard's runs in one call after `delayMs`, unless a claim has taken them by then. */
  finishIn(shard: number, delayMs: number): void {
    if (this.#of(shard).length === 0) return;
    if (delayMs === 0) {
      // Together with those that end in the same turn of the event loop.
      setImmediate(() => void this.#finish(shard));
    } else {
      this.#timers.set(
        shard,
        this.#timers.get(shard) ??
          setTimeout(() => {
            this.#timers.delete(shard);
            void this.#finish(shard);
          }, delayMs),
      );
    }
  }

  async finishAll(): Promise<void> {
    await Promise.all(Array.from(this.#byShard.keys(), (shard) => this.#finish(shard)));
  }

  async #finish(shard: number): Promise<void> {
    const runs = this.take(shard);
    if (runs.length === 0) return;
    try {
      await this.#queue.finish(runs, this.#owner);
    } catch (error) {
      // Their leases lapse, and the next worker that claims them reads in Postgres that they ended.
      log.warn("worker.finish_failed", { shard, message: messageOf(error) });
    }
  }

  #of(shard: number): JobName[] {
    const known = this.#byShard.get(shard);
    if (known) return known;
    const fresh: JobName[] = [];
    this.#byShard.set(shard, fresh);
    return fresh;
  }
}
