import { setTimeout as sleep } from "node:timers/promises";
import type { Incarnation, RunId } from "../../shared/contracts/ids.ts";
import { log, messageOf } from "../../shared/log.ts";
import { ColdError } from "../../shared/queue/scripts.ts";
import type { Queue } from "../../shared/queue/queue.ts";
import type { Claim, Room } from "../../shared/queue/claim.ts";
import type { JobName } from "../../shared/queue/job.ts";
import type { StateStore } from "../../shared/store/state.ts";
import type { DirectClaims } from "./direct-claim.ts";
import type { EndedRuns, Executions } from "./executions.ts";
import type { Heartbeat } from "./heartbeat.ts";
import type { QueueLinks } from "./queue-links.ts";
import { releaseMoved, restoreRunningLeases } from "./restore-leases.ts";
import type { UnresolvedLeases } from "./restore-leases.ts";
import type { Markers, Slots } from "./slots.ts";
import type { WorkerTiming } from "./worker-timing.ts";

/** The longest wait for a marker: a lost marker delays a claim by at most this. */
export const MAX_WAIT_MS = 2_000;
/** An idle worker waits this long for a claim that finishes its ended runs: in a steady stream of runs that saves a call for each. */
const FINISH_DELAY_MS = 20;
/** The pause between two tries while a store is unreachable. */
const PAUSE_MS = 500;

export type ClaimLoopDeps = {
  owner: Incarnation;
  store: StateStore;
  queue: Queue;
  links: QueueLinks;
  heartbeat: Heartbeat;
  slots: Slots;
  executions: Executions;
  ended: EndedRuns;
  unresolved: UnresolvedLeases;
  directClaims: DirectClaims;
  timing: WorkerTiming;
  /**
   * Waits for one of the shard's markers, at most `ms`. At most one call per shard is under way.
   * @returns whether it took a marker
   */
  waitForWork(shard: number, markers: Markers, ms: number): Promise<boolean>;
  /** Ends all waits under way, before any later call reaches the queue. */
  endWaits(): void;
};

/**
 * Claims runs of one queue shard again and again, each time as many as there are free slots. docs/protocol.md 5.2. When
 * nothing is ready it waits for a marker, and claims without one after at most `MAX_WAIT_MS`.
 */
export class ClaimLoop {
  readonly #deps: ClaimLoopDeps;
  readonly #shard: number;
  /** How often this worker had been silent when this shard was last synchronized. */
  #silences = 0;
  #isStopped = false;
  /** The latest claim, while the loop waits for work. */
  #lastClaim: Claim | null = null;
  /** The wait for a marker that is under way. It goes on when the loop claims for another reason. */
  #marker: { of: Markers; taken: Promise<void> } | null = null;
  #stopped: Promise<void> = Promise.resolve();

  constructor(shard: number, deps: ClaimLoopDeps) {
    this.#shard = shard;
    this.#deps = deps;
  }

  /**
   * How long ended runs may wait to be finished: null while a claim follows at once that finishes them. 0 after `stop`, and
   * when ready jobs may be waiting for the slots of these runs.
   */
  get finishDelayMs(): number | null {
    if (this.#isStopped) return 0;
    if (!this.#lastClaim) return null;
    return this.#lastClaim.stillReady > 0 ? 0 : FINISH_DELAY_MS;
  }

  start(): void {
    this.#stopped = this.#run();
  }

  /** Claims nothing more. A claim under way goes on. */
  stop(): void {
    this.#isStopped = true;
  }

  /** Resolves when a stopped loop has begun the runs of its last claim, and has passed on a marker that it took. */
  stopped(): Promise<void> {
    return this.#stopped;
  }

  async #run(): Promise<void> {
    const { links, slots } = this.#deps;
    while (!this.#isStopped) {
      try {
        if (!links.isPostgresReachable) {
          await sleep(PAUSE_MS);
          continue;
        }
        if (!hasRoom(slots.markers())) {
          await slots.freed;
          continue;
        }
        // Of a run that ends during the claim, the slot was not free for it.
        const { released } = slots;
        const room = slots.room();
        const claim = await this.#claimAndBegin(room);
        if (!claim) {
          await sleep(PAUSE_MS);
          continue;
        }
        // When a claim got fewer runs than there were free slots, this worker may take none of the remaining jobs.
        const isAllTaken = claim.runs.length < room.slots;
        const markers = slots.markers();
        if (isAllTaken && hasRoom(markers) && !this.#isStopped)
          await this.#waitForWork(claim, markers, released);
      } catch (error) {
        log.warn("worker.claim_failed", { shard: this.#shard, message: messageOf(error) });
        await sleep(PAUSE_MS);
      } finally {
        this.#lastClaim = null;
      }
    }
  }

  /**
   * Waits for a marker or for the next due job; and for a run that ends, when not every lane has an open slot: jobs may be
   * ready for which that run made room.
   */
  async #waitForWork(claim: Claim, markers: Markers, released: Promise<void>): Promise<void> {
    const { slots, ended, endWaits } = this.#deps;
    const isAllOpen = markers.open.length === slots.lanes.length;
    // The claim that follows the end of a run finishes that run.
    const isFollowed = markers.open.length === 0;
    if (!isFollowed) {
      this.#lastClaim = claim;
      ended.finishSoon(this.#shard);
    }
    const waitMs = Math.min(MAX_WAIT_MS, Math.max(1, claim.nextMs));
    const pending = this.#marker;
    const taken = pending?.taken ?? this.#waitForMarker(markers, waitMs);
    // A lane that has got an open slot since then has markers for which the pending wait does not wait.
    if (pending && !markers.open.every((lane) => pending.of.open.includes(lane))) endWaits();
    const ends = [taken];
    if (!isAllOpen) ends.push(released);
    if (pending) ends.push(sleep(waitMs, undefined, { ref: false }));
    await Promise.race(ends);
  }

  #waitForMarker(markers: Markers, waitMs: number): Promise<void> {
    const taken = this.#deps
      .waitForWork(this.#shard, markers, waitMs)
      .then((isTaken) => (isTaken && this.#isStopped ? this.#passOnMarker() : undefined))
      .finally(() => {
        this.#marker = null;
      });
    this.#marker = { of: markers, taken };
    return taken;
  }

  /** A claim of nothing makes a marker for the jobs that are ready: the taken one would have called another worker. */
  async #passOnMarker(): Promise<void> {
    const { queue, owner, slots, timing } = this.#deps;
    const { leaseMs } = timing;
    await queue.claim({ ...slots.room(), shard: this.#shard, owner, leaseMs, slots: 0, ended: [] });
  }

  /** Claims the runs that there is room for and begins them. Null: the queue is unreachable or cold, or this worker counts as silent. */
  async #claimAndBegin(room: Room): Promise<Claim | null> {
    const { slots, links, heartbeat, directClaims } = this.#deps;
    slots.reserve(room.slots);
    try {
      if (!heartbeat.isFresh) {
        await heartbeat.beat();
        if (!heartbeat.isFresh) return null;
      }
      // Other workers may have claimed directly meanwhile: this shard is synchronized before its next claim.
      if (heartbeat.silences !== this.#silences) links.reportFailed(this.#shard);
      this.#silences = heartbeat.silences;
      const claim = await this.#claimFromQueue(room);
      if (claim) {
        const againMs = await this.#claimFromPostgres(claim);
        return { ...claim, nextMs: Math.min(claim.nextMs, againMs) };
      }
      if (links.of(this.#shard) === "direct") await directClaims.claim(room);
      return null;
    } finally {
      slots.unreserve(room.slots);
    }
  }

  async #claimFromQueue(room: Room): Promise<Claim | null> {
    const { queue, owner, links, ended, unresolved, timing } = this.#deps;
    const shard = this.#shard;
    const finished = ended.take(shard);
    try {
      if (links.of(shard) !== "up") await this.#synchronize();
      await unresolved.reconcileAll();
      const { leaseMs } = timing;
      const claim = await queue.claim({
        ...room,
        shard,
        owner,
        leaseMs,
        ended: finished.map(({ run }) => run),
      });
      links.reportClaimed(shard);
      return claim;
    } catch (error) {
      // It is unknown whether Redis finished the ended runs. To finish them again is harmless. Unfinished, their leases would
      // take slots until they lapse.
      ended.add(shard, finished);
      if (error instanceof ColdError) links.reportCold(shard);
      else if (links.of(shard) === "up")
        log.warn("worker.queue_unreachable", { shard, message: messageOf(error) });
      links.reportFailed(shard);
      return null;
    }
  }

  /** Before the first claim from a queue that was unreachable: runs that were claimed directly take slots that it has not counted. */
  async #synchronize(): Promise<void> {
    const { queue, links, heartbeat } = this.#deps;
    await queue.readIndex(this.#shard); // throws when the shard cannot be reached, or is cold
    links.reportAnswered(this.#shard);
    await heartbeat.announceQueue();
    await releaseMoved(this.#deps, await restoreRunningLeases(this.#deps, this.#shard));
  }

  /**
   * Takes the right to move the runs that the queue leased, and begins them.
   * @returns the time until the first of the others may be claimed again, in milliseconds
   */
  async #claimFromPostgres({ runs: jobs, excess }: Claim): Promise<number> {
    const { store, owner, heartbeat, executions, unresolved } = this.#deps;
    // For a run that this worker executes already, the queue only gave the lease again.
    const fresh = jobs.filter(({ run }) => !executions.has(run));
    if (fresh.length === 0) return Infinity;
    const claimable = await this.#withinLimits(fresh, excess);
    // While this worker was silent, runs of the same tenants may have been claimed directly, in slots that the queue has
    // given away since. The leases are reconciled after the next synchronization.
    if (!heartbeat.isFresh || heartbeat.silences !== this.#silences) {
      unresolved.add(fresh);
      return 0;
    }
    // The process may be stopped here for any time: then Postgres counts a silence, and the statement claims nothing.
    const known = heartbeat.areSilencesCounted ? ([this.#silences] as const) : ([] as const);
    const claimed = await store.claim(owner, claimable, ...known).catch((error: unknown) => {
      unresolved.add(fresh);
      throw error;
    });
    await executions.begin(claimed);
    const claimedIds = new Set(claimed.map(({ run_id }) => run_id));
    return unresolved.reconcile(fresh.filter(({ run }) => !claimedIds.has(run)));
  }

  /**
   * Those of the leased runs whose claim passes no limit: of the excess leases only the runs that Postgres calls running, which
   * take a slot already. The others are released, and wait for a slot.
   */
  async #withinLimits(jobs: readonly JobName[], excess: readonly RunId[]): Promise<RunId[]> {
    const { store, unresolved } = this.#deps;
    const runs = jobs.map(({ run }) => run);
    if (excess.length === 0) return runs;
    const snapshots = await store.readRunSnapshots(excess).catch((error: unknown) => {
      unresolved.add(jobs);
      throw error;
    });
    const running = new Set(
      snapshots.filter(({ status }) => status === "running").map(({ run_id }) => run_id),
    );
    return runs.filter((run) => running.has(run) || !excess.includes(run));
  }
}

function hasRoom({ open, spare }: Markers): boolean {
  return open.length + spare.length > 0;
}
