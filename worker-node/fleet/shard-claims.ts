import type { Incarnation, RunId } from "../../shared/contracts/ids.ts";
import { log, messageOf } from "../../shared/log.ts";
import type { Claim, Room } from "../../shared/queue/claim.ts";
import type { JobName } from "../../shared/queue/job.ts";
import type { Queue } from "../../shared/queue/queue.ts";
import { ColdError } from "../../shared/queue/scripts.ts";
import type { StateStore } from "../../shared/store/state.ts";
import type { DirectClaims } from "./direct-claim.ts";
import type { EndedRuns } from "./ended-runs.ts";
import type { Executions } from "./executions.ts";
import type { Heartbeat } from "./heartbeat.ts";
import type { QueueLinks } from "./queue-links.ts";
import { releaseMoved, restoreRunningLeases } from "./restore-leases.ts";
import type { UnresolvedLeases } from "./unresolved-leases.ts";
import type { Slots } from "./slots.ts";
import type { WorkerTiming } from "./worker-timing.ts";

export type ClaimDeps = {
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
};

/**
 * The claims of runs of one queue shard: each leases jobs in Redis, takes the right to move their runs in Postgres, and
 * begins them. docs/protocol.md 5.2.
 */
export class ShardClaims {
  readonly #shard: number;
  readonly #deps: ClaimDeps;
  /** How often this worker had been silent when this shard was last synchronized. */
  #silences = 0;

  constructor(shard: number, deps: ClaimDeps) {
    this.#shard = shard;
    this.#deps = deps;
  }

  /**
   * Claims the runs that there is room for and begins them.
   * @returns null when the queue is unreachable or cold, or this worker counts as silent
   */
  async claimAndBegin(room: Room): Promise<Claim | null> {
    const { slots, links, heartbeat, unresolved, directClaims } = this.#deps;
    slots.reserve(room.slots);
    try {
      if (!heartbeat.isFresh) {
        await heartbeat.beat();
        if (!heartbeat.isFresh) return null;
      }
      await unresolved.voidUnanswered(heartbeat);
      // Other workers may have claimed directly meanwhile: this shard is synchronized before its next claim.
      if (heartbeat.silences !== this.#silences) links.reportFailed(this.#shard);
      this.#silences = heartbeat.silences;
      const claim = await this.#claimFromQueue(room);
      if (claim) {
        const claimableInMs = await this.#claimFromPostgres(claim);
        return { ...claim, nextMs: Math.min(claim.nextMs, claimableInMs) };
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
      ended.noteRoomy(claim);
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

  /** Precedes the first claim from a queue that was unreachable: it has not counted the slots of runs that were claimed directly. */
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
    const silences = heartbeat.areSilencesCounted ? ([this.#silences] as const) : ([] as const);
    const claimed = await store.claim(owner, claimable, ...silences).catch((error: unknown) => {
      unresolved.addUnanswered(fresh);
      throw error;
    });
    await executions.begin(claimed);
    const claimedIds = new Set(claimed.map(({ run_id }) => run_id));
    return unresolved.reconcile(fresh.filter(({ run }) => !claimedIds.has(run)));
  }

  /**
   * The leased runs whose claim exceeds no limit. Of the excess leases these are the runs that Postgres calls running, because
   * they take a slot already. The other excess leases are released, and their runs wait for a slot.
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
