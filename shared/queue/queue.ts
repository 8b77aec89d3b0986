import { z } from "zod";
import { RunId } from "../contracts/ids.ts";
import type { TenantId } from "../contracts/ids.ts";
import type { Lane } from "../contracts/run.ts";
import { queueShardOf } from "../keys.ts";
import { claimArgs, readClaim } from "./claim.ts";
import type { Claim, ClaimRequest } from "./claim.ts";
import { readIndexProgress } from "./index-progress.ts";
import type { IndexProgress, KnownScan } from "./index-progress.ts";
import { jobArgs, readJobNames, waitingJobArgs } from "./job.ts";
import type { Job, JobName, JobWait } from "./job.ts";
import { limitsArgs, readNewerLimits } from "./limits.ts";
import type { Limits, NewerLimits } from "./limits.ts";
import type { RedisCommands } from "./scripts.ts";
import { ShardScripts, scripts } from "./scripts.ts";
import { RESERVATION_MS } from "../timing.ts";
import { readStats, readTenantStats } from "./stats.ts";
import type { QueueStats, TenantQueueStats } from "./stats.ts";
import { readVerdict } from "./verdict.ts";
import type { QueueVerdict } from "./verdict.ts";

/** `leaseMs`: the length of a lease from now on. `runs`: those of `owner` on the shard. */
export type RenewRequest = { shard: number; owner: string; leaseMs: number; runs: readonly RunId[] };

// Made once: a schema costs more to make than a reply to parse.
const Text = z.string();
const Texts = z.array(Text);
const Counts = z.array(z.coerce.number());
const RenewReply = z.tuple([z.array(RunId), z.array(RunId)]);
const ListReply = z.array(z.coerce.string());

/** `lostLeases`: another worker has the lease. `unknownLeases`: no worker has one. */
export type Renewal = { lostLeases: RunId[]; unknownLeases: RunId[] };

/**
 * `owner`: the worker that Postgres names. `holder`: a worker whose lease may be passed on to the owner, if any.
 * `epoch`: that of the rebuild which restores the leases, if one does.
 */
export type LeasesToRestore = {
  jobs: readonly Job[];
  owner: string;
  leaseMs: number;
  holder?: string;
  epoch?: string | undefined;
};

/**
 * The verbs of the queue over one Redis: docs/protocol.md 3. All are batched and idempotent by run id. On a cold shard
 * `pushLimits` acts, and `restoreLeases` for the rebuild; `admit` replies "cold"; the others throw ColdError.
 *
 * Every call may be repeated. A run ends also when a call is lost: the reconciler repairs the queue from Postgres.
 */
export class Queue {
  readonly #scripts: ShardScripts;
  readonly shards: number;

  constructor(redis: RedisCommands, shards: number) {
    this.#scripts = new ShardScripts(redis, shards);
    this.shards = shards;
  }

  /** Reserves a place for each run for 30 s, or refuses it. All runs must be of one shard (those of one tenant are). */
  async admit(requests: readonly JobName[], maxDepth: number): Promise<QueueVerdict[]> {
    const [first] = requests;
    if (!first) return [];
    const shard = queueShardOf(first.tenant, this.shards);
    const names = requests.flatMap(({ tenant, run }) => [tenant, run]);
    const args = [String(maxDepth), String(RESERVATION_MS), ...names];
    const reply = await this.#scripts.runOrCold(shard, scripts.admit, args);
    if (reply === "cold") return requests.map(() => ({ ok: false, reason: "cold" }));
    return Texts.parse(reply).map(readVerdict);
  }

  /**
   * Makes jobs ready, now or at their time. A job that waits for its time already gets the earlier of both times.
   * @returns how many of them the queue did not know before
   */
  async enqueue(jobs: readonly (Job & JobWait)[]): Promise<number> {
    const replies = await this.#scripts.runPerShard(jobs, scripts.enqueue, [], waitingJobArgs);
    const unknown = Counts.parse(replies);
    return unknown.reduce((sum, count) => sum + count, 0);
  }

  /** Finishes `ended`, then leases up to `slots` jobs to `owner`: lapsed leases first, then the tenants in turn. */
  async claim(request: ClaimRequest): Promise<Claim> {
    return readClaim(await this.#scripts.run(request.shard, scripts.claim, claimArgs(request, this.shards)));
  }

  /**
   * Renews the leases of `owner` on one shard. The worker stops runs with a lost lease at once; it restores an unknown
   * lease if Postgres says that the run is its own.
   */
  async renew({ shard, owner, leaseMs, runs }: RenewRequest): Promise<Renewal> {
    const reply = await this.#scripts.run(shard, scripts.renew, [owner, String(leaseMs), ...runs]);
    const [lostLeases, unknownLeases] = RenewReply.parse(reply);
    return { lostLeases, unknownLeases };
  }

  /**
   * Gives the lease of each job to `owner`, unless a worker other than `owner` and `holder` has it. With the `epoch` of
   * the latest reset it acts on a cold shard too.
   * @throws ColdError also when `epoch` is not that of the latest reset
   */
  async restoreLeases({ jobs, owner, leaseMs, holder = owner, epoch = "" }: LeasesToRestore): Promise<void> {
    const head = [holder, owner, String(leaseMs), epoch];
    await this.#scripts.runPerShard(jobs, scripts.restoreLeases, head, jobArgs);
  }

  /**
   * Ends leases of `owner`. Each job becomes ready at its time, or at the earlier time of an enqueue during the lease.
   */
  async release(jobs: readonly (Job & JobWait)[], owner: string): Promise<void> {
    await this.#scripts.runPerShard(jobs, scripts.release, [owner], waitingJobArgs);
  }

  /**
   * Removes jobs whose runs have ended, unless a worker other than `owner` has the lease. `owner` is empty for a caller
   * without leases, such as the edge: leased jobs stay.
   */
  async finish(jobs: readonly JobName[], owner: string): Promise<void> {
    await this.#scripts.runPerShard(jobs, scripts.finish, [owner], (job) => [job.run]);
  }

  /** Gives back the reservations of runs that were not committed, with their starts in the tenants' minutes. */
  async giveBack(runs: readonly JobName[]): Promise<void> {
    await this.#scripts.runPerShard(runs, scripts.giveBack, [], ({ run }) => [run]);
  }

  /**
   * Stores the limits of tenants; an older version changes nothing. Acts on a cold shard too.
   * @returns those that the queue has with a higher version
   */
  async pushLimits(limits: readonly Limits[]): Promise<NewerLimits[]> {
    return readNewerLimits(await this.#scripts.runPerShard(limits, scripts.pushLimits, [], limitsArgs));
  }

  /**
   * Puts tenants with ready jobs and a free slot back into a lane's ring: at most `count` tenants, by name after `after`.
   * @returns the name to continue after, empty at the end
   */
  async repairRing(page: { shard: number; lane: Lane; after: string; count: number }): Promise<string> {
    const args = [page.lane, page.after, String(page.count)];
    return Text.parse(await this.#scripts.run(page.shard, scripts.repairRing, args));
  }

  /** A page of a shard's jobs, in any state. @returns the next cursor, "0" at the end */
  async list(shard: number, cursor: string, count: number): Promise<{ cursor: string; jobs: JobName[] }> {
    const reply = await this.#scripts.run(shard, scripts.list, [cursor, String(count)]);
    const [next = "0", ...names] = ListReply.parse(reply);
    return { cursor: next, jobs: readJobNames(names) };
  }

  /** The numbers of a shard's jobs by state, and of its tenants. @throws ColdError */
  async stats(shard: number): Promise<QueueStats> {
    return readStats(await this.#scripts.run(shard, scripts.stats, []));
  }

  /** The numbers of every shard, in the order of shards. @throws ColdError */
  allStats(): Promise<QueueStats[]> {
    return Promise.all(Array.from({ length: this.shards }, (_, shard) => this.stats(shard)));
  }

  /** The slots that a tenant uses and its queued or reserved runs, as the limits count them. @throws ColdError */
  async tenantStats(tenant: TenantId): Promise<TenantQueueStats> {
    const shard = queueShardOf(tenant, this.shards);
    return readTenantStats(await this.#scripts.run(shard, scripts.stats, [tenant]));
  }

  /**
   * Deletes the keys of a cold shard, except the token buckets of lanes: the first step of a rebuild. It supersedes a rebuild under way.
   * @returns the epoch of the index to come; null: the shard has an index, and nothing was deleted
   */
  async reset(shard: number): Promise<string | null> {
    const epoch = Text.parse(await this.#scripts.runOrCold(shard, scripts.reset, []));
    return epoch === "known" ? null : epoch;
  }

  /**
   * Gives a cold shard its index: from now on jobs may be claimed, and a scan enqueues all due runs. On a shard
   * with an index it changes nothing.
   * @throws ColdError when `epoch` is not that of the latest reset, or Redis was emptied since
   */
  async beginIndex(shard: number, epoch: string): Promise<void> {
    await this.#scripts.run(shard, scripts.index, ["begin", epoch]);
  }

  /** Call it when runs were accepted without the queue: `admit` does not count before scans have enqueued all of them. */
  async invalidateCounts(shard: number): Promise<void> {
    await this.#scripts.run(shard, scripts.index, ["invalidate_counts"]);
  }

  /** What a shard knows about its own completeness. @throws ColdError */
  async readIndex(shard: number): Promise<IndexProgress> {
    return readIndexProgress(await this.#scripts.run(shard, scripts.index, []));
  }

  /**
   * Records the position of a scan; `uptoMs`: the scan is complete up to this time.
   * @returns false when the shard's epoch or position is not `known`: then the scan has no effect
   */
  async advanceScan(shard: number, known: KnownScan, scanned: string, uptoMs?: number): Promise<boolean> {
    const args = ["scan", known.epoch, known.scanned, scanned, String(uptoMs ?? "")];
    return (await this.#scripts.run(shard, scripts.index, args)) !== "stale";
  }

  /** Records that the shard has all limits that were changed by a time. A lower time or another epoch changes nothing. */
  async advanceLimits(shard: number, epoch: string, limitsUptoMs: number): Promise<void> {
    await this.#scripts.run(shard, scripts.index, ["limits", epoch, String(limitsUptoMs)]);
  }
}
