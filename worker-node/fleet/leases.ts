import { setTimeout } from "node:timers/promises";
import type { RunId } from "../../shared/contracts/ids.ts";
import type { Incarnation } from "../../shared/contracts/ids.ts";
import { log, messageOf } from "../../shared/log.ts";
import { queueShardOf } from "../../shared/keys.ts";
import { ColdError } from "../../shared/queue/shard-scripts.ts";
import type { Job } from "../../shared/queue/job.ts";
import type { Queue } from "../../shared/queue/queue.ts";
import type { StateStore } from "../../shared/store/state.ts";
import type { Beat, OwnedRun } from "../../shared/store/workers/workers.ts";

export const LEASE_MS = 15_000;
const PERIOD_MS = 5_000;
/** A worker that has had no confirmation for so long may have lost its runs: it asks before it touches the world. */
const FRESH_MS = 12_000;
/** For so long after the queue was found again it counts as reached: by then its first claim has been answered. */
const FOUND_MS = 10_000;

/** A run in this worker's hands. */
export type HeldRun = {
  job: Job;
  attempt: number;
  /** What came from outside, as far as this worker knows. */
  signals: number;
  sinceMs: number;
  /** Another moves this run now: stop at once, write nothing. */
  lose(): void;
  /** Something came from outside: `cancel`, or more `signals` than before. */
  hear(news: { signals: number; cancel: boolean }): void;
};

/**
 * A worker's right to move its runs: the beat in Postgres, which decides, and the leases in Redis, which save double
 * work. The two do not wait for each other. docs/protocol.md 5.3.
 */
export class Leases {
  readonly held = new Map<RunId, HeldRun>();
  readonly #owner: Incarnation;
  readonly #store: StateStore;
  readonly #queue: Queue;
  readonly #self: () => Omit<Beat, "incarnation">;
  readonly #onCold: (shard: number) => void;
  readonly #onAway: (shard: number) => void;
  #confirmedMs = -Infinity;
  #foundMs = -Infinity;
  #beating: Promise<void> | null = null;
  /** Runs that Postgres said are ours in the last beat, and that nobody here executes, with their attempts. */
  #strays = new Map<RunId, number>();
  #owned = new Set<RunId>();
  #timers: NodeJS.Timeout[] = [];
  postgresAway = false;

  constructor(parts: {
    owner: Incarnation;
    store: StateStore;
    queue: Queue;
    self: () => Omit<Beat, "incarnation">;
    onCold: (shard: number) => void;
    /** The queue does not answer: who has no free slot would not notice by claiming. */
    onAway: (shard: number) => void;
  }) {
    this.#owner = parts.owner;
    this.#store = parts.store;
    this.#queue = parts.queue;
    this.#self = parts.self;
    this.#onCold = parts.onCold;
    this.#onAway = parts.onAway;
  }

  start(): void {
    this.#timers = [
      setInterval(() => void this.beat(), PERIOD_MS),
      setInterval(() => void this.#renew(), PERIOD_MS),
    ];
  }

  stop(): void {
    for (const timer of this.#timers) clearInterval(timer);
  }

  /** Says that this worker lives, and lets go of what Postgres says is not its own. Never throws: the next beat tries again. */
  beat(): Promise<void> {
    this.#beating ??= this.#beatOnce().finally(() => {
      this.#beating = null;
    });
    return this.#beating;
  }

  /** A beat that has not asked yet: one under way may have asked before there was something to hear. */
  async beatAgain(): Promise<void> {
    await this.#beating;
    await this.beat();
  }

  /**
   * Says that the queue answers, before anything is claimed from it. When it resolves, nobody claims without the queue
   * any more, and what was claimed so is committed: it can be read, and the queue be told of it.
   * @throws the store's error
   */
  async announceQueue(): Promise<void> {
    this.#foundMs = performance.now();
    // A beat on its way may say the contrary.
    await this.#beating;
    await this.#store.beat(this.#told());
    // Claims without the queue hold this row, and look at the beats when they have it.
    await this.#store.takeLock("direct", this.#owner, 0);
  }

  /** It does not answer after all. */
  withdrawQueue(): void {
    this.#foundMs = -Infinity;
  }

  #told(): Beat {
    const self = this.#self();
    const isFound = performance.now() - this.#foundMs < FOUND_MS;
    return { ...self, incarnation: this.#owner, redis_ok: self.redis_ok || isFound };
  }

  async #beatOnce(): Promise<void> {
    const askedMs = performance.now();
    let owned: OwnedRun[];
    try {
      owned = await this.#store.beat(this.#told());
    } catch (error) {
      if (!this.postgresAway) log.warn("worker.beat_failed", { message: messageOf(error) });
      this.postgresAway = true;
      return;
    }
    this.postgresAway = false;
    this.#confirmedMs = askedMs;
    const byRun = new Map(owned.map((run) => [run.run_id, run]));
    this.#owned = new Set(byRun.keys());
    const gone: Job[] = [];
    for (const [run, held] of this.held) {
      const mine = byRun.get(run);
      // A run that was claimed after the question is rightly missing from the answer.
      if (held.sinceMs >= askedMs) continue;
      if (!mine) gone.push(held.job);
      if (mine?.attempt !== held.attempt) held.lose();
      else if (mine.signals !== held.signals || mine.cancel) held.hear(mine);
    }
    // The beat does not wait for Redis.
    void this.#releaseGone(gone);
    await this.#handBackStrays(owned.filter((run) => !this.held.has(run.run_id)));
  }

  /** Runs that were taken from us: our leases in Redis would keep them from others until they lapse. */
  async #releaseGone(jobs: readonly Job[]): Promise<void> {
    if (jobs.length === 0) return;
    // Whoever claims them reads in Postgres what they are now.
    const ready = jobs.map((job) => ({ ...job, status: "queued" as const, delayMs: 0 }));
    await this.#queue.release(ready, this.#owner).catch((error: unknown) => {
      log.warn("lease.release_failed", { runs: jobs.length, message: messageOf(error) });
    });
  }

  /** Owned in two beats and executed by nobody: the reply of a claim was lost. */
  async #handBackStrays(now: OwnedRun[]): Promise<void> {
    const twice = now.filter((run) => this.#strays.get(run.run_id) === run.attempt);
    this.#strays = new Map(now.map((run) => [run.run_id, run.attempt]));
    if (twice.length === 0) return;
    try {
      const back = await this.#store.handBack(this.#owner, twice);
      for (const run of back) log.warn("run.handed_back", { run, reason: "the reply of its claim was lost" });
    } catch (error) {
      log.warn("run.hand_back_failed", { message: messageOf(error) });
    }
  }

  async #renew(): Promise<void> {
    const byShard = Map.groupBy(this.held.values(), ({ job }) =>
      queueShardOf(job.tenant, this.#queue.shards),
    );
    await Promise.all(Array.from(byShard, ([shard, held]) => this.#renewShard(shard, held)));
  }

  async #renewShard(shard: number, held: HeldRun[]): Promise<void> {
    const askedMs = performance.now();
    try {
      const jobs = new Map(held.map((each) => [each.job.run, each]));
      const { lostLeases: lost, unknownLeases: unknown } = await this.#queue.renew({
        shard,
        owner: this.#owner,
        leaseMs: LEASE_MS,
        runs: [...jobs.keys()],
      });
      // What Redis knows nothing of may have been taken over, and finished, since: that confirms nothing.
      if (lost.length + unknown.length === 0) this.#confirmedMs = Math.max(this.#confirmedMs, askedMs);
      for (const run of lost) jobs.get(run)?.lose();
      // Nobody holds them: Redis has lost them, or our lease. Postgres says whose they are. What has left meanwhile is
      // unknown for a good reason: its slot must not be taken again.
      const ours = unknown.filter((run) => this.#owned.has(run) && this.held.get(run) === jobs.get(run));
      const mine = ours.map((run) => jobs.get(run)?.job);
      await this.#queue.restoreLeases({
        jobs: mine.filter((job) => job !== undefined),
        owner: this.#owner,
        leaseMs: LEASE_MS,
      });
    } catch (error) {
      if (error instanceof ColdError) this.#onCold(shard);
      else {
        log.warn("lease.renew_failed", { shard, message: messageOf(error) });
        this.#onAway(shard);
      }
    }
  }

  /**
   * Answers once this worker has been heard of within 12 s; asks, and waits, if it was not. A process that was stopped
   * for a minute finds here, before its next call to the outside, that its runs are another's. Throws when the run
   * is lost, or `signal` says so.
   */
  async confirm(run: RunId, signal: AbortSignal): Promise<void> {
    while (performance.now() - this.#confirmedMs > FRESH_MS) {
      await this.beat();
      signal.throwIfAborted();
      if (performance.now() - this.#confirmedMs > FRESH_MS) await setTimeout(1_000, undefined, { signal });
    }
    if (!this.held.has(run)) throw new Error(`the right to move ${run} was lost`);
  }
}
