import type { Incarnation } from "../../shared/contracts/ids.ts";
import { log, messageOf } from "../../shared/log.ts";
import type { JobName } from "../../shared/queue/job.ts";
import type { Queue } from "../../shared/queue/queue.ts";

/** As many as one claim or one `finish` carries. */
const MAX_RUNS = 1_000;
/** More end only while the queue is away. */
const MOST_RUNS = 20_000;

/** Runs that have ended here and whose leases the queue still counts: the next claim of their shard tells it, or `finish`. */
export class EndedRuns {
  readonly #queue: Queue;
  readonly #owner: Incarnation;
  readonly #byShard = new Map<number, JobName[]>();

  constructor(queue: Queue, owner: Incarnation) {
    this.#queue = queue;
    this.#owner = owner;
  }

  add(shard: number, runs: readonly JobName[]): void {
    const known = this.#of(shard);
    known.push(...runs);
    // A queue that is away for so long has let their leases lapse, or knows nothing of them.
    known.splice(0, known.length - MOST_RUNS);
  }

  /** For somebody who tells the queue of them, and adds them again if that fails. */
  take(shard: number): JobName[] {
    return this.#of(shard).splice(0, MAX_RUNS);
  }

  /** With what ends in the same moment. */
  finishSoon(shard: number): void {
    if (this.#of(shard).length > 0) setImmediate(() => void this.#finish(shard));
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
      // Their leases lapse, and the next to claim them reads that they have ended.
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
