import { setTimeout as sleep } from "node:timers/promises";
import type { Incarnation, RunId } from "../../shared/contracts/ids.ts";
import { queueShardOf } from "../../shared/keys.ts";
import { log, messageOf } from "../../shared/log.ts";
import { ColdError } from "../../shared/queue/shard-scripts.ts";
import type { Job } from "../../shared/queue/job.ts";
import type { Queue } from "../../shared/queue/queue.ts";
import type { StateStore } from "../../shared/store/state.ts";
import type { Beat, OwnedRun } from "../../shared/store/workers/workers.ts";
import type { QueueLinks } from "./queue-links.ts";
import type { WorkerTiming } from "./worker-timing.ts";

/** Between two tries of `confirm` while no store confirms. */
const CONFIRM_PAUSE_MS = 1_000;

/** A run that this worker executes, and whose lease it renews. */
export type TrackedRun = {
  job: Job;
  attempt: number;
  /** `runs.signals` as far as this worker knows it. */
  signals: number;
  /** When it was claimed, by the monotonic clock: a beat that was sent earlier does not name it. */
  sinceMs: number;
  /** Another worker moves the run: its execution must stop at once and write nothing. */
  supersede(): void;
  /** The run has a cancel request, or other `signals` than this worker knows. */
  onSignal(signal: { signals: number; cancel: boolean }): void;
};

/** What a beat says of this worker besides its name and whether it reaches the queue. */
export type WorkerReport = Omit<Beat, "incarnation" | "redis_ok">;

export type LeasesDeps = {
  owner: Incarnation;
  store: StateStore;
  queue: Queue;
  links: QueueLinks;
  timing: WorkerTiming;
  report: () => WorkerReport;
};

/**
 * A worker's right to move its runs: the beat in Postgres, which decides, and the leases in Redis, which save double
 * work. The two do not wait for each other. docs/protocol.md 5.3.
 */
export class Leases {
  readonly #deps: LeasesDeps;
  readonly #tracked = new Map<RunId, TrackedRun>();
  /** When the last beat or renewal that was confirmed was sent. */
  #confirmedMs = -Infinity;
  #beating: Promise<void> | null = null;
  /** Runs that the last beat named as ours. */
  #owned: ReadonlySet<RunId> = new Set();
  /** Those of them that were not executed here, with their attempts. */
  #strays: ReadonlyMap<RunId, number> = new Map();
  #timers: NodeJS.Timeout[] = [];

  constructor(deps: LeasesDeps) {
    this.#deps = deps;
  }

  start(): void {
    const { beatMs } = this.#deps.timing;
    this.#timers = [
      setInterval(() => void this.beat(), beatMs),
      setInterval(() => void this.#renew(), beatMs),
    ];
  }

  stop(): void {
    for (const timer of this.#timers) clearInterval(timer);
  }

  /** From now on the run's lease is renewed, and its execution learns of signals and of its end. */
  track(run: TrackedRun): void {
    this.#tracked.set(run.job.run, run);
  }

  /** The run's lease is not renewed any more. */
  untrack(run: RunId): void {
    this.#tracked.delete(run);
  }

  isTracked(run: RunId): boolean {
    return this.#tracked.has(run);
  }

  /**
   * Renews this worker's sign of life in Postgres and compares the runs that it owns there with those it executes. A call
   * while a beat is under way joins it. Never throws: the next beat tries again.
   */
  beat(): Promise<void> {
    this.#beating ??= this.#beatOnce().finally(() => {
      this.#beating = null;
    });
    return this.#beating;
  }

  /** A beat that is sent after this call: one under way may have read before the change that the caller was notified of. */
  async beatAgain(): Promise<void> {
    await this.#beating;
    await this.beat();
  }

  /**
   * Announces that the queue answers, before anything is claimed from it. When it resolves, no worker claims without the
   * queue any more, and what was claimed so is committed: it can be read from Postgres and restored in the queue.
   * @throws the store's error
   */
  async announceQueue(): Promise<void> {
    const { owner, store, links } = this.#deps;
    links.reportAnnounced();
    // A beat under way may say the contrary.
    await this.#beating;
    await store.beat(this.#composeBeat());
    // A direct claim holds this row, and reads the beats once it has it.
    await store.takeLock("direct", owner, 0);
  }

  /**
   * Resolves when a beat or a renewal of the last 12 s is confirmed; if none is, beats until one is. A process that was
   * stopped for a minute finds out here, before its next call to the outside, that its runs were taken over.
   * @throws Error when the run is superseded, or the reason of `signal`
   */
  async confirm(run: RunId, signal: AbortSignal): Promise<void> {
    while (this.#isUnconfirmed()) {
      await this.beat();
      signal.throwIfAborted();
      if (this.#isUnconfirmed()) await sleep(CONFIRM_PAUSE_MS, undefined, { signal });
    }
    if (!this.isTracked(run)) throw new Error(`the execution of ${run} was superseded`);
  }

  #isUnconfirmed(): boolean {
    return performance.now() - this.#confirmedMs > this.#deps.timing.silentMs;
  }

  #composeBeat(): Beat {
    const { owner, links, report } = this.#deps;
    return { ...report(), incarnation: owner, redis_ok: links.redisOk };
  }

  async #beatOnce(): Promise<void> {
    const { store, links } = this.#deps;
    const sentMs = performance.now();
    let owned: OwnedRun[];
    try {
      owned = await store.beat(this.#composeBeat());
    } catch (error) {
      if (links.isPostgresReachable) log.warn("worker.beat_failed", { message: messageOf(error) });
      links.isPostgresReachable = false;
      return;
    }
    links.isPostgresReachable = true;
    this.#confirmedMs = sentMs;
    const byRun = new Map(owned.map((run) => [run.run_id, run]));
    this.#owned = new Set(byRun.keys());
    const gone: Job[] = [];
    for (const [run, tracked] of this.#tracked) {
      const mine = byRun.get(run);
      // A run that was claimed after the beat was sent is rightly missing from the reply.
      if (tracked.sinceMs >= sentMs) continue;
      if (!mine) gone.push(tracked.job);
      if (mine?.attempt !== tracked.attempt) this.#supersede(tracked);
      else if (mine.signals !== tracked.signals || mine.cancel) tracked.onSignal(mine);
    }
    // The beat does not wait for Redis.
    void this.#releaseGone(gone);
    await this.#handBackStrays(owned.filter((run) => !this.isTracked(run.run_id)));
  }

  #supersede(tracked: TrackedRun): void {
    this.untrack(tracked.job.run);
    tracked.supersede();
  }

  /** Ends the leases of runs that are not this worker's any more: they would keep other workers from them until they lapse. */
  async #releaseGone(jobs: readonly Job[]): Promise<void> {
    if (jobs.length === 0) return;
    // The next worker that claims them reads in Postgres what they are now.
    const ready = jobs.map((job) => ({ ...job, status: "queued" as const, delayMs: 0 }));
    await this.#deps.queue.release(ready, this.#deps.owner).catch((error: unknown) => {
      log.warn("lease.release_failed", { runs: jobs.length, message: messageOf(error) });
    });
  }

  /** Hands back runs that two beats in a row named under the same attempt and that are not executed: the reply of their claim was lost. */
  async #handBackStrays(strays: readonly OwnedRun[]): Promise<void> {
    const repeated = strays.filter((run) => this.#strays.get(run.run_id) === run.attempt);
    this.#strays = new Map(strays.map((run) => [run.run_id, run.attempt]));
    if (repeated.length === 0) return;
    try {
      const returned = await this.#deps.store.handBack(this.#deps.owner, repeated);
      for (const run of returned) {
        log.warn("run.handed_back", { run, reason: "the reply of its claim was lost" });
      }
    } catch (error) {
      log.warn("run.hand_back_failed", { message: messageOf(error) });
    }
  }

  async #renew(): Promise<void> {
    const { shards } = this.#deps.queue;
    const byShard = Map.groupBy(this.#tracked.values(), ({ job }) => queueShardOf(job.tenant, shards));
    await Promise.all(Array.from(byShard, ([shard, runs]) => this.#renewShard(shard, runs)));
  }

  async #renewShard(shard: number, tracked: readonly TrackedRun[]): Promise<void> {
    const { owner, queue, links, timing } = this.#deps;
    const sentMs = performance.now();
    const byRun = new Map(tracked.map((each) => [each.job.run, each]));
    try {
      const { leaseMs } = timing;
      const renewal = await queue.renew({ shard, owner, leaseMs, runs: [...byRun.keys()] });
      const { lostLeases, unknownLeases } = renewal;
      // A run that Redis does not know may have been taken over, and ended, since: then nothing is confirmed.
      if (lostLeases.length + unknownLeases.length === 0)
        this.#confirmedMs = Math.max(this.#confirmedMs, sentMs);
      for (const run of lostLeases) {
        const superseded = byRun.get(run);
        if (superseded) this.#supersede(superseded);
      }
      // No worker has these leases: Redis lost them. Postgres says whose runs they are. A run that ended here while the
      // renewal was under way is rightly unknown: its slot must not be taken again.
      const restorable = unknownLeases.filter(
        (run) => this.#owned.has(run) && this.#tracked.get(run) === byRun.get(run),
      );
      const jobs = restorable.map((run) => byRun.get(run)?.job).filter((job) => job !== undefined);
      await queue.restoreLeases({ jobs, owner, leaseMs });
    } catch (error) {
      if (error instanceof ColdError) links.reportCold(shard);
      else {
        log.warn("lease.renew_failed", { shard, message: messageOf(error) });
        // A worker without a free slot does not claim, so it would not find out otherwise.
        links.reportFailed(shard);
      }
    }
  }
}
