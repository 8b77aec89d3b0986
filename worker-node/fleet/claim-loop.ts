import { setTimeout as sleep } from "node:timers/promises";
import { log, messageOf } from "../../shared/log.ts";
import type { Claim } from "../../shared/queue/claim.ts";
import { ShardClaims } from "./shard-claims.ts";
import type { ClaimDeps } from "./shard-claims.ts";
import type { Markers } from "./slots.ts";

/** The longest wait for a marker: a lost marker delays a claim by at most this. */
export const MAX_WAIT_MS = 2_000;
/** An idle worker waits this long for a claim that finishes its ended runs: in a steady stream of runs that saves a call for each. */
const FINISH_DELAY_MS = 20;
/** The pause between two tries while a store is unreachable. */
const PAUSE_MS = 500;

export type ClaimLoopDeps = ClaimDeps & {
  /**
   * Waits for one of the shard's markers, at most `ms`. At most one call per shard is under way.
   * @returns whether it took a marker
   */
  waitForWork(shard: number, markers: Markers, ms: number): Promise<boolean>;
  /** Ends all waits under way, before any later call reaches the queue. */
  endWaits(): void;
};

/**
 * Claims runs of one queue shard again and again, each time as many as there are free slots: `ShardClaims` makes each claim.
 * When nothing is ready the loop waits for a marker, and claims without one after at most `MAX_WAIT_MS`.
 */
export class ClaimLoop {
  readonly #deps: ClaimLoopDeps;
  readonly #shard: number;
  readonly #claims: ShardClaims;
  #isStopped = false;
  /** The latest claim, while the loop waits for work. */
  #lastClaim: Claim | null = null;
  /** The wait for a marker that is under way. It goes on when the loop claims for another reason. */
  #marker: { of: Markers; taken: Promise<void> } | null = null;
  #stopped: Promise<void> = Promise.resolve();

  constructor(shard: number, deps: ClaimLoopDeps) {
    this.#shard = shard;
    this.#deps = deps;
    this.#claims = new ShardClaims(shard, deps);
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
        const claim = await this.#claims.claimAndBegin(room);
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
}

function hasRoom({ open, spare }: Markers): boolean {
  return open.length + spare.length > 0;
}
