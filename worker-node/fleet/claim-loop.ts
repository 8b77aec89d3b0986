import { setTimeout as sleep } from "node:timers/promises";
import type { Incarnation } from "../../shared/contracts/ids.ts";
import type { Lane } from "../../shared/contracts/run.ts";
import { log, messageOf } from "../../shared/log.ts";
import { ColdError } from "../../shared/queue/shard-scripts.ts";
import type { Claim, Queue } from "../../shared/queue/queue.ts";
import type { JobName } from "../../shared/queue/job.ts";
import type { StateStore } from "../../shared/store/state.ts";
import type { DirectClaims } from "./direct-claim.ts";
import type { EndedRuns } from "./ended-runs.ts";
import type { Executions } from "./executions.ts";
import type { Heartbeat } from "./heartbeat.ts";
import type { QueueLinks } from "./queue-links.ts";
import { releaseMoved, restoreRunningLeases } from "./restore-leases.ts";
import type { Slots } from "./slots.ts";
import type { UnresolvedLeases } from "./unresolved-leases.ts";
import type { WorkerTiming } from "./worker-timing.ts";

/** The longest wait for a marker: a lost marker delays a claim by at most this. */
export const MAX_WAIT_MS = 2_000;
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
  /** Waits for a marker of one of the shard's lanes, at most `ms`. At most one call per shard is under way. */
  waitForWork(shard: number, lanes: readonly Lane[], ms: number): Promise<void>;
};

/**
 * Claims runs of one queue shard again and again, each time as many as there are free slots. docs/protocol.md 5.2. When
 * nothing is ready it waits for a marker, and claims without one after at most `MAX_WAIT_MS`.
 */
export class ClaimLoop {
  readonly #deps: ClaimLoopDeps;
  readonly #shard: number;
  /** The silences of this worker after which this shard was synchronized. */
  #silences = 0;
  #isStopped = false;
  #isWaiting = false;
  #stopped: Promise<void> = Promise.resolve();

  constructor(shard: number, deps: ClaimLoopDeps) {
    this.#shard = shard;
    this.#deps = deps;
  }

  /** False while the loop waits for work and after `stop`: then no claim follows soon that would finish the ended runs. */
  get isClaiming(): boolean {
    return !this.#isWaiting && !this.#isStopped;
  }

  start(): void {
    this.#stopped = this.#run();
  }

  /** Claims nothing more. A claim under way goes on. */
  stop(): void {
    this.#isStopped = true;
  }

  /** Resolves when a stopped loop has begun the runs of its last claim. A stopped loop that waits for work makes no other claim. */
  async lastClaim(): Promise<void> {
    if (!this.#isWaiting) await this.#stopped;
  }

  async #run(): Promise<void> {
    const { links, slots, ended, waitForWork } = this.#deps;
    while (!this.#isStopped) {
      try {
        if (!links.isPostgresReachable) {
          await sleep(PAUSE_MS);
          continue;
        }
        const { free } = slots;
        if (free <= 0 || slots.lanesWithRoom().length === 0) {
          await slots.freed;
          continue;
        }
        const claim = await this.#claimAndBegin(free);
        if (!claim) {
          await sleep(PAUSE_MS);
          continue;
        }
        if (claim.runs.length > 0) continue;
        this.#isWaiting = true;
        ended.finishSoon(this.#shard);
        const waitMs = Math.min(MAX_WAIT_MS, Math.max(1, claim.nextMs));
        await waitForWork(this.#shard, slots.lanesWithRoom(), waitMs);
      } catch (error) {
        log.warn("worker.claim_failed", { shard: this.#shard, message: messageOf(error) });
        await sleep(PAUSE_MS);
      } finally {
        this.#isWaiting = false;
      }
    }
  }

  /** Claims up to `free` runs and begins them. Null: the queue is unreachable or cold, or this worker counts as silent. */
  async #claimAndBegin(free: number): Promise<Claim | null> {
    const { slots, links, heartbeat, directClaims } = this.#deps;
    slots.reserve(free);
    try {
      if (!heartbeat.isFresh) {
        await heartbeat.beat();
        if (!heartbeat.isFresh) return null;
      }
      // Other workers may have claimed directly meanwhile: this shard is synchronized before its next claim.
      if (heartbeat.silences !== this.#silences) links.reportFailed(this.#shard);
      this.#silences = heartbeat.silences;
      const claim = await this.#claimFromQueue(free);
      if (claim) await this.#claimFromPostgres(claim.runs);
      else if (links.of(this.#shard) === "direct") await directClaims.claim(free);
      return claim;
    } finally {
      slots.unreserve(free);
    }
  }

  async #claimFromQueue(free: number): Promise<Claim | null> {
    const { queue, owner, links, slots, ended, unresolved, timing } = this.#deps;
    const shard = this.#shard;
    const finished = ended.take(shard);
    try {
      if (links.of(shard) !== "up") await this.#synchronize();
      await unresolved.reconcileAll();
      const claim = await queue.claim({
        shard,
        owner,
        leaseMs: timing.leaseMs,
        slots: free,
        lanes: slots.room(),
        ended: finished.map(({ run }) => run),
      });
      links.reportClaimed(shard);
      return claim;
    } catch (error) {
      // It is unknown whether Redis finished the ended runs. To finish them again is harmless; without it their leases would
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

  /** Takes the right to move the runs that the queue leased, and begins them. */
  async #claimFromPostgres(jobs: readonly JobName[]): Promise<void> {
    const { store, owner, heartbeat, executions, unresolved } = this.#deps;
    // For a run that this worker executes already, the queue only gave the lease again.
    const fresh = jobs.filter(({ run }) => !executions.has(run));
    if (fresh.length === 0) return;
    // While this worker was silent, runs of the same tenants may have been claimed directly, in slots that the queue has
    // given away since. The leases are reconciled after the next synchronization.
    if (!heartbeat.isFresh || heartbeat.silences !== this.#silences) {
      unresolved.add(fresh);
      return;
    }
    const runs = fresh.map(({ run }) => run);
    // The process may be stopped right here for as long as it likes: then Postgres counts a silence, and claims nothing.
    const known = heartbeat.areSilencesCounted ? ([this.#silences] as const) : ([] as const);
    const claimed = await store.claim(owner, runs, ...known).catch((error: unknown) => {
      unresolved.add(fresh);
      throw error;
    });
    await executions.begin(claimed);
    const claimedIds = new Set(claimed.map(({ run_id }) => run_id));
    await unresolved.reconcile(fresh.filter(({ run }) => !claimedIds.has(run)));
  }
}
