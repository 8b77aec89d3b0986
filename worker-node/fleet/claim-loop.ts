import { setTimeout as sleep } from "node:timers/promises";
import { log, messageOf } from "../../shared/log.ts";
import type { Claim } from "../../shared/queue/claim.ts";
import { ShardClaims } from "./shard-claims.ts";
import type { ClaimDeps } from "./shard-claims.ts";
import type { Markers } from "./slots.ts";

/** The longest wait for a marker: a lost marker delays a claim by at most this. */
export const MAX_WAIT_MS = 2_000;
/** An idle worker finishes its ended runs after this time, unless a claim does so before: that saves most of these calls. */
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
   * How long ended runs may wait to be finished. Null: a claim that finishes them follows immediately. 0 after `stop`, and
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
        // Read before the claim: the slot of a run that ends during the claim was not free for it.
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
   * Waits for a marker, and at most until the next job is due. While a lane has no open slot, the end of a run ends the wait
   * too: the run may have made room for jobs that are ready.
   */
  async #waitForWork(claim: Claim, markers: Markers, released: Promise<void>): Promise<void> {
    const { slots, ended, endWaits } = this.#deps;
    const isEachLaneOpen = markers.open.length === slots.lanes.length;
    // Without any open slot, the end of a run ends this wait, and the claim that follows finishes the run.
    if (markers.open.length > 0) {
      this.#lastClaim = claim;
      ended.finishSoon(this.#shard);
    }
    const waitMs = Math.min(MAX_WAIT_MS, Math.max(1, claim.nextMs));
    const pending = this.#marker;
    const taken = pending?.taken ?? this.#waitForMarker(markers, waitMs);
    // The pending wait does not know the marker of a lane that has got an open slot since it began.
    if (pending && !markers.open.every((lane) => pending.of.open.includes(lane))) endWaits();
    const ends = [taken];
    if (!isEachLaneOpen) ends.push(released);
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

  /** Wakes another worker in place of this one: a claim of no job pushes a marker again for the jobs that are ready. */
  async #passOnMarker(): Promise<void> {
    const { queue, owner, slots, timing } = this.#deps;
    const { leaseMs } = timing;
    await queue.claim({ ...slots.room(), shard: this.#shard, owner, leaseMs, slots: 0, ended: [] });
  }
}

function hasRoom({ open, spare }: Markers): boolean {
  return open.length + spare.length > 0;
}
