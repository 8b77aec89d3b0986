import type { Incarnation } from "../../shared/contracts/ids.ts";
import { queueShardOf } from "../../shared/keys.ts";
import { log, messageOf } from "../../shared/log.ts";
import type { Job, JobName } from "../../shared/queue/job.ts";
import type { Queue } from "../../shared/queue/queue.ts";
import type { Ending } from "../execution/execution-state.ts";

/** The most runs that one claim or one `finish` carries. */
const MAX_RUNS_PER_CALL = 1_000;
/** The most runs that are kept for a shard. More than one call's worth gather only while the queue is unreachable. */
const MAX_RUNS_PER_SHARD = 20_000;

type EndedRunsDeps = {
  owner: Incarnation;
  queue: Queue;
  /** How long the shard's ended runs may wait to be finished; null while a claim follows at once that finishes them. */
  delayMs(shard: number): number | null;
};

/**
 * Decides what the queue receives when the execution of a run has ended. A run that ended keeps its lease until the next claim
 * of its shard, or a `finish`, removes its job.
 */
export class EndedRuns {
  readonly #deps: EndedRunsDeps;
  readonly #byShard = new Map<number, JobName[]>();
  readonly #timers = new Map<number, NodeJS.Timeout>();

  constructor(deps: EndedRunsDeps) {
    this.#deps = deps;
  }

  /** Finishes or releases the job of a run after its execution. The run's lease is not renewed any more. */
  async onEnd(job: Job, ending: Ending): Promise<void> {
    const { owner, queue } = this.#deps;
    const shard = queueShardOf(job.tenant, queue.shards);
    if (ending.is === "ended") {
      this.add(shard, [job]);
      this.finishSoon(shard);
    } else if (ending.is === "parked") {
      const parked = { ...job, status: ending.status, delayMs: ending.delayMs };
      await queue.release([parked], owner).catch((error: unknown) => {
        // Its lease lapses, and the reconciler enqueues the run when it is due.
        log.warn("run.release_failed", { run: job.run, message: messageOf(error) });
      });
    }
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

  /** Finishes the shard's runs in one call, unless a claim does so before. */
  finishSoon(shard: number): void {
    const delayMs = this.#deps.delayMs(shard);
    if (delayMs === null || this.#of(shard).length === 0) return;
    if (delayMs === 0) {
      // Together with those that end in the same turn of the event loop.
      setImmediate(() => void this.#finish(shard));
    } else if (!this.#timers.has(shard)) {
      const timer = setTimeout(() => {
        this.#timers.delete(shard);
        void this.#finish(shard);
      }, delayMs);
      this.#timers.set(shard, timer);
    }
  }

  async finishAll(): Promise<void> {
    await Promise.all(Array.from(this.#byShard.keys(), (shard) => this.#finish(shard)));
  }

  async #finish(shard: number): Promise<void> {
    const runs = this.take(shard);
    if (runs.length === 0) return;
    try {
      await this.#deps.queue.finish(runs, this.#deps.owner);
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
