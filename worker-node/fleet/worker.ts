import { setTimeout as sleep } from "node:timers/promises";
import type { Incarnation, RunId } from "../../shared/contracts/ids.ts";
import type { Lane } from "../../shared/contracts/run.ts";
import { queueShardOf } from "../../shared/keys.ts";
import { log, messageOf } from "../../shared/log.ts";
import { scoreOf } from "../../shared/queue/job.ts";
import { ColdError } from "../../shared/queue/shard-scripts.ts";
import type { Job, JobName } from "../../shared/queue/job.ts";
import type { Claim, Queue } from "../../shared/queue/queue.ts";
import type { ClaimedRun, RunLook } from "../../shared/store/runs/claim.ts";
import type { StateStore } from "../../shared/store/state.ts";
import { lanesOf } from "../config.ts";
import { EndedRuns } from "./ended-runs.ts";
import { execute } from "../execution/execute.ts";
import type { Ending, ExecutionDeps } from "../execution/execute.ts";
import { LEASE_MS } from "./leases.ts";
import type { Leases } from "./leases.ts";
import { reconcileLeases, restoreRunningLeases, releaseMoved } from "../reconciler/restore-leases.ts";
import { Stop } from "../execution/stop.ts";

/** A lost marker costs at most this. */
const LONGEST_WAIT_MS = 2_000;
const REDIS_PAUSE_MS = 500;
/** A Redis that has not answered for so long is away: runs are claimed straight from Postgres, once a second. */
const REDIS_AWAY_MS = 5_000;
const DIRECT_PAUSE_MS = 1_000;

export type WorkerParts = {
  owner: Incarnation;
  slots: number;
  lanes: readonly Lane[];
  queue: Queue;
  store: StateStore;
  leases: Leases;
  world: ExecutionDeps;
  /** Waits for a marker of one of the shard's lanes, at most `ms`. One caller a shard. */
  waitForWork(shard: number, lanes: readonly Lane[], ms: number): Promise<void>;
  /** Asks for a pass of the reconciler: this Redis does not know all there is. */
  onCold(shard: number): void;
};

type Running = { stop: AbortController; done: Promise<void>; job: Job; claimed: ClaimedRun; lane: Lane };

/**
 * The loop of a worker: claim as many ready runs as there are free slots, carry each forward, claim again. docs/protocol.md
 * 5.2. It blocks on a marker and never polls faster than a lost marker costs.
 */
export class Worker {
  readonly #parts: WorkerParts;
  readonly #running = new Map<RunId, Running>();
  readonly #ended: EndedRuns;
  readonly #waiting = new Set<number>();
  readonly #awaySinceMs = new Map<number, number>();
  #claimedDirectlyMs = -Infinity;
  /** Leased to us by the queue, and Postgres did not say whose they are: no more is claimed from it before it does. */
  #unsettled: JobName[] = [];
  /** Slots that a claim under way may fill. */
  #asked = 0;
  #claiming = true;
  #slotFreed = Promise.withResolvers<void>();
  #loops: Promise<void>[] = [];

  constructor(parts: WorkerParts) {
    this.#parts = parts;
    this.#ended = new EndedRuns(parts.queue, parts.owner);
    // Nobody has seen the queue yet, nor knows what others have done without it.
    for (let shard = 0; shard < parts.queue.shards; shard++) this.#awaySinceMs.set(shard, performance.now());
  }

  get active(): number {
    return this.#running.size;
  }

  get queueReachable(): boolean {
    return this.#awaySinceMs.size === 0;
  }

  /** The queue does not answer, or knows nothing: before the next claim from it all that is done for a queue that was found. */
  loseQueue(shard: number): void {
    this.#parts.leases.withdrawQueue();
    if (!this.#awaySinceMs.has(shard)) this.#awaySinceMs.set(shard, performance.now());
  }

  start(): void {
    this.#loops = Array.from({ length: this.#parts.queue.shards }, (_, shard) => this.#loop(shard));
  }

  /**
   * Stops claiming, lets what runs go on for `graceMs`, and hands the rest back: another worker has it at once, and
   * nobody counts a crash.
   */
  async drain(graceMs: number): Promise<void> {
    this.#claiming = false;
    this.#freeSlot();
    await Promise.race([this.#allDone(), sleep(graceMs)]);
    const left = [...this.#running.values()];
    for (const { stop } of left) stop.abort(new Stop("drain", "the worker is shutting down"));
    await Promise.race([this.#allDone(), sleep(2_000)]);
    if (left.length > 0) await this.#handBack(left);
    // What waits for work claims no more.
    const claims = this.#loops.filter((_, shard) => !this.#waiting.has(shard));
    await Promise.race([Promise.all(claims), sleep(LONGEST_WAIT_MS + 1_000)]);
    await this.#ended.finishAll();
  }

  async #allDone(): Promise<void> {
    await Promise.all(Array.from(this.#running.values(), ({ done }) => done));
  }

  async #handBack(runs: readonly Pick<Running, "job" | "claimed">[]): Promise<void> {
    const { store, queue, leases, owner } = this.#parts;
    try {
      const back = new Set(
        await store.handBack(
          owner,
          runs.map(({ claimed }) => ({ run_id: claimed.run_id, attempt: claimed.attempt })),
        ),
      );
      // Not renewed any more, also by a step that takes its time to stop: their leases are others' from here on.
      for (const run of back) leases.held.delete(run);
      const jobs = runs.filter(({ job }) => back.has(job.run)).map(({ job }) => job);
      await queue.release(
        jobs.map((job) => ({ ...job, status: "queued" as const, delayMs: 0 })),
        owner,
      );
      for (const run of back) log.info("run.handed_back", { run, reason: "drain" });
    } catch (error) {
      // The beat stops with this process: the others take over what could not be handed back.
      log.warn("run.hand_back_failed", { message: messageOf(error) });
    }
  }

  async #loop(shard: number): Promise<void> {
    const { waitForWork, leases } = this.#parts;
    while (this.#claiming) {
      try {
        if (leases.postgresAway) {
          await sleep(REDIS_PAUSE_MS);
          continue;
        }
        const free = this.#parts.slots - this.#running.size - this.#asked;
        if (free <= 0 || this.#lanesWithRoom().length === 0) {
          await this.#slotFreed.promise;
          continue;
        }
        const claim = await this.#fill(shard, free);
        if (!claim) {
          await sleep(REDIS_PAUSE_MS);
          continue;
        }
        if (claim.runs.length > 0) continue;
        this.#waiting.add(shard);
        this.#ended.finishSoon(shard);
        await waitForWork(shard, this.#lanesWithRoom(), Math.min(LONGEST_WAIT_MS, Math.max(1, claim.nextMs)));
      } catch (error) {
        log.warn("worker.claim_failed", { shard, message: messageOf(error) });
        await sleep(REDIS_PAUSE_MS);
      } finally {
        this.#waiting.delete(shard);
      }
    }
  }

  /** Claims for slots that the loops of other shards do not count as free meanwhile. Null: without the queue. */
  async #fill(shard: number, free: number): Promise<Claim | null> {
    this.#asked += free;
    try {
      const claim = await this.#askQueue(shard, free);
      if (claim) await this.#take(claim.runs);
      else await this.#claimDirectly(shard, free);
      return claim;
    } finally {
      this.#asked -= free;
      this.#freeSlot();
    }
  }

  /** What the queue gives; null when it is away or cold. */
  async #askQueue(shard: number, free: number): Promise<Claim | null> {
    const { queue, leases, owner, onCold } = this.#parts;
    const ended = this.#ended.take(shard);
    try {
      if (this.#awaySinceMs.has(shard)) {
        await queue.readIndex(shard); // does it answer, and know anything?
        // Before the first claim: what was given out without it takes up slots that it does not know of.
        await leases.announceQueue();
        await releaseMoved(this.#parts, await restoreRunningLeases(this.#parts, shard));
      }
      await this.#giveUp(this.#unsettled.splice(0));
      const claim = await queue.claim({
        shard,
        owner,
        leaseMs: LEASE_MS,
        slots: free,
        lanes: this.#caps(),
        ended: ended.map(({ run }) => run),
      });
      this.#awaySinceMs.delete(shard);
      return claim;
    } catch (error) {
      // Whether they were finished is not known: finishing again is harmless, forgetting them costs a lapse.
      this.#ended.add(shard, ended);
      if (error instanceof ColdError) onCold(shard);
      else if (!this.#awaySinceMs.has(shard))
        log.warn("worker.queue_away", { shard, message: messageOf(error) });
      this.loseQueue(shard);
      return null;
    }
  }

  /** Once a second, after five seconds without a queue. docs/protocol.md 11. */
  async #claimDirectly(shard: number, free: number): Promise<void> {
    const nowMs = performance.now();
    if (nowMs - (this.#awaySinceMs.get(shard) ?? nowMs) < REDIS_AWAY_MS) return;
    if (nowMs - this.#claimedDirectlyMs < DIRECT_PAUSE_MS) return;
    this.#claimedDirectlyMs = nowMs;
    const { store, owner } = this.#parts;
    const claimed = await store.claimDirectly(owner, free, this.#lanesWithRoom());
    await this.#beginAll(claimed.filter(({ run_id }) => !this.#running.has(run_id)));
    for (const run of claimed) {
      // It was taken from us as stuck, and nobody but us could take it: the old execution first has to go. Nobody waits
      // for that: if it never does, the run is handed back as one that nobody here executes.
      const old = this.#running.get(run.run_id);
      if (!old || old.claimed.attempt === run.attempt) continue;
      old.stop.abort(new Stop("lost", "the run was taken back"));
      void old.done.then(() => this.#beginAll([run]));
    }
  }

  /** Only these are waited for: a lane that is full here has a marker for others all the time. */
  #lanesWithRoom(): Lane[] {
    const caps = this.#caps();
    return this.#parts.lanes.filter((lane) => (caps[lane] ?? 0) > 0);
  }

  /** What each lane may still get here. */
  #caps(): Partial<Record<Lane, number>> {
    const caps = lanesOf(this.#parts.lanes, this.#parts.slots);
    for (const { lane } of this.#running.values()) caps[lane] = (caps[lane] ?? 0) - 1;
    return caps;
  }

  async #take(jobs: readonly JobName[]): Promise<void> {
    // What is executed here already was only leased again.
    const fresh = jobs.filter(({ run }) => !this.#running.has(run));
    if (fresh.length === 0) return;
    const { store, owner } = this.#parts;
    const names = fresh.map(({ run }) => run);
    const claimed = await store.claim(owner, names).catch((error: unknown) => {
      this.#unsettled.push(...fresh);
      throw error;
    });
    await this.#beginAll(claimed);
    const got = new Set(claimed.map(({ run_id }) => run_id));
    await this.#giveUp(fresh.filter(({ run }) => !got.has(run)));
  }

  async #giveUp(jobs: readonly JobName[]): Promise<void> {
    if (jobs.length === 0) return;
    await reconcileLeases(this.#parts, jobs, this.#parts.owner).catch((error: unknown) => {
      this.#unsettled.push(...jobs);
      throw error;
    });
  }

  /** What a claim brings that was on its way when the drain began goes back at once. */
  async #beginAll(claimed: readonly ClaimedRun[]): Promise<void> {
    if (this.#claiming) for (const run of claimed) this.#begin(run);
    else if (claimed.length > 0)
      await this.#handBack(claimed.map((run) => ({ claimed: run, job: jobOf(run) })));
  }

  #begin(claimed: ClaimedRun): void {
    const { leases, world } = this.#parts;
    const stop = new AbortController();
    const runLog = world.journal.open(claimed);
    const job = jobOf(claimed);
    log.info("run.claimed", { run: claimed.run_id, attempt: claimed.attempt, tenant: claimed.tenant_id });
    leases.held.set(claimed.run_id, {
      job,
      attempt: claimed.attempt,
      signals: claimed.signals,
      sinceMs: performance.now(),
      lose: () => {
        leases.held.delete(claimed.run_id);
        stop.abort(new Stop("lost", "the run is another worker's now"));
      },
      hear: ({ signals, cancel }) => {
        runLog.signals = signals;
        if (cancel) stop.abort(new Stop("cancel", "the run was cancelled"));
      },
    });
    const done = execute(claimed, world, stop, runLog)
      .then((ending) => {
        // Before the queue hears of it: a renewal in between would take its lease again.
        leases.held.delete(claimed.run_id);
        return this.#end(claimed, job, ending);
      })
      .catch((error: unknown) => {
        log.error("run.ending_failed", { run: claimed.run_id, message: messageOf(error) });
      })
      .finally(() => {
        leases.held.delete(claimed.run_id);
        this.#running.delete(claimed.run_id);
        this.#freeSlot();
      });
    this.#running.set(claimed.run_id, { stop, done, job, claimed, lane: claimed.lane });
  }

  async #end(claimed: ClaimedRun, job: Job, ending: Ending): Promise<void> {
    log.info("run.left", { run: claimed.run_id, attempt: claimed.attempt, as: ending.is });
    const shard = queueShardOf(job.tenant, this.#parts.queue.shards);
    if (ending.is === "ended") {
      this.#ended.add(shard, [job]);
      // While the loop waits, or has ended, nobody claims, so nothing carries it.
      if (this.#waiting.has(shard) || !this.#claiming) this.#ended.finishSoon(shard);
    } else if (ending.is === "parked") {
      const waiting = { ...job, status: ending.status, delayMs: ending.delayMs };
      await this.#parts.queue.release([waiting], this.#parts.owner).catch((error: unknown) => {
        // Its lease lapses, and the reconciler shows it when it is due.
        log.warn("run.release_failed", { run: job.run, message: messageOf(error) });
      });
    }
  }

  #freeSlot(): void {
    this.#slotFreed.resolve();
    this.#slotFreed = Promise.withResolvers<void>();
  }
}

function jobOf(run: ClaimedRun | RunLook): Job {
  return {
    run: run.run_id,
    tenant: run.tenant_id,
    lane: run.lane,
    score: scoreOf(run.queued_at_ms, run.priority),
  };
}
