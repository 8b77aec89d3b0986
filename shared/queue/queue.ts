import { z } from "zod";
import { RunId, TenantId } from "../contracts/ids.ts";
import { Lane } from "../contracts/run.ts";
import { keys, queueShardOf } from "../keys.ts";
import { LANES } from "./lanes.ts";
import { run } from "./script.ts";
import type { RedisCommands, Script } from "./script.ts";
import { scripts } from "./scripts.ts";

/**
 * A name on the queue: it says which run is ready, Postgres says what the run is.
 * `score`: ready jobs of a tenant go by it, smallest first; see `scoreOf`.
 */
export type Job = { run: RunId; tenant: TenantId; lane: Lane; score: number };

/** What a waiting job waits for: `queued` counts against the tenant's queue, `paused` does not. */
export type JobWait = { status: "queued" | "paused"; delayMs: number };

export type Limits = {
  tenant: TenantId;
  version: number;
  maxConcurrentRuns: number;
  maxQueuedRuns: number;
  requestsPerSecond: number;
  weight: number;
};

/** The answer to one run that asks to be let in; a no takes nothing. */
export type QueueVerdict =
  | { ok: true }
  | { ok: false; reason: "rate"; retryMs: number }
  | { ok: false; reason: "queued"; limit: number }
  /**
   * `unknown`: this Redis has no limits of the tenant; push them and ask once more. `rebuilding`: it has kept a place,
   * but cannot count; who counts otherwise may use it.
   */
  | { ok: false; reason: "depth" | "disabled" | "unknown" | "cold" | "rebuilding" };

/** A run's name and the tenant that says on which shard it is. */
export type JobName = { run: RunId; tenant: TenantId };

export type Claim = { runs: JobName[]; nextMs: number };

export type QueueStats = {
  reserved: number;
  ready: number;
  due: number;
  timer: number;
  leased: number;
  tenants: number;
  lanes: Record<Lane, { ready: number }>;
};

/** This Redis has no finished index: new, emptied, or robbed of a key. A worker that hears it has it rebuilt. */
export class ColdError extends Error {
  readonly shard: number;

  constructor(shard: number) {
    super(`queue shard ${shard} is cold`);
    this.name = "ColdError";
    this.shard = shard;
  }
}

/** Ten minutes of waiting outweigh the highest priority, so that ageing bounds every wait. */
const MS_PER_PRIORITY = 60_000;

/** The place of a job among its tenant's: the time it was queued, earlier by a minute for each point of priority. */
export function scoreOf(queuedAtMs: number, priority: number): number {
  return queuedAtMs - priority * MS_PER_PRIORITY;
}

/**
 * What a shard knows about its own completeness, in milliseconds of Postgres: every run that is due by `uptoMs` has
 * been shown to it; `full`: it knows enough to count. Minus infinity: nothing yet. `epoch`: which index this is;
 * `walked`: how far the walk under way has come, as its walker wrote it.
 */
export type IndexProgress = {
  epoch: string;
  walked: string;
  uptoMs: number;
  quotaReady: boolean;
  limitsUptoMs: number;
};

/** The walk that an index is expected to know: another one means that what was shown to it may be lost. */
export type KnownScan = Pick<IndexProgress, "epoch" | "walked">;

/** How long an admitted run may take to be committed before its place is given back; longer than any statement. */
const RESERVATION_MS = 30_000;

/**
 * The verbs of the queue over one Redis: docs/protocol.md 3. All are batched and idempotent by run id; each
 * script touches the keys of one shard. On a cold one `pushLimits` acts, and `hold` by whoever rebuilds it; the others
 * throw ColdError, `admit` answers it. Every call may be repeated, and none of them is needed for a run to finish:
 * Postgres is the truth.
 */
export class Queue {
  readonly #redis: RedisCommands;
  readonly shards: number;

  constructor(redis: RedisCommands, shards: number) {
    this.#redis = redis;
    this.shards = shards;
  }

  /** Reserves a place for each run for 30 s, or says no. The runs must be of one shard (one tenant is). */
  async admit(requests: readonly JobName[], maxDepth: number): Promise<QueueVerdict[]> {
    const [first] = requests;
    if (!first) return [];
    const args = [String(maxDepth), String(RESERVATION_MS)];
    for (const request of requests) args.push(request.tenant, request.run);
    const shard = queueShardOf(first.tenant, this.shards);
    const reply = await this.#call(shard, scripts.admit, args);
    if (reply === "cold") return requests.map(() => ({ ok: false, reason: "cold" }));
    return z.array(z.string()).parse(reply).map(readVerdict);
  }

  /**
   * Makes jobs ready, or waiting for their time. One that waits already gets the earlier of both times.
   * @returns how many of them were not known here
   */
  async enqueue(jobs: readonly (Job & JobWait)[]): Promise<number> {
    const replies = await this.#perShard(jobs, scripts.enqueue, [], (job) => [
      job.run,
      job.tenant,
      job.lane,
      String(job.score),
      job.status,
      String(Math.max(0, Math.ceil(job.delayMs))),
    ]);
    return z
      .array(z.coerce.number())
      .parse(replies)
      .reduce((sum, unknown) => sum + unknown, 0);
  }

  /**
   * Finishes `ended`, then leases up to `slots` jobs to `owner`: lapsed leases first, then the tenants in turn.
   * `lanes`: how many jobs of each lane it may take. `nextMs`: the time to the next due job or lapse, at most 60 s.
   */
  async claim(
    shard: number,
    owner: string,
    leaseMs: number,
    slots: number,
    lanes: Partial<Record<Lane, number>>,
    ended: readonly RunId[],
  ): Promise<Claim> {
    const args = [owner, String(leaseMs), String(slots), String(ended.length), ...ended];
    for (const lane of Lane.options) {
      const cap = lanes[lane] ?? 0;
      if (cap > 0) args.push(lane, String(cap), String(LANES[lane].weight));
    }
    const reply = await this.#run(shard, scripts.claim, args);
    const [nextMs, ...flat] = z.array(z.coerce.string()).parse(reply);
    return { runs: readNames(flat), nextMs: Number(nextMs) };
  }

  /**
   * Renews the leases of `owner` on one shard. `lost`: another holds it, stop at once. `unknown`: nobody holds it;
   * `hold` it if Postgres says that it is yours.
   */
  async renew(
    shard: number,
    owner: string,
    leaseMs: number,
    runs: readonly RunId[],
  ): Promise<{ lost: RunId[]; unknown: RunId[] }> {
    const reply = await this.#run(shard, scripts.renew, [owner, String(leaseMs), ...runs]);
    const [lost, unknown] = z.tuple([z.array(RunId), z.array(RunId)]).parse(reply);
    return { lost, unknown };
  }

  /**
   * Gives the lease of each job to `owner`, if nobody, `caller` or `owner` holds it. With the `epoch` of a rebuild also
   * on a cold shard.
   * @throws ColdError also when the epoch is not that of the last reset
   */
  async restoreLeases(
    jobs: readonly Job[],
    caller: string,
    owner: string,
    leaseMs: number,
    epoch = "",
  ): Promise<void> {
    await this.#perShard(jobs, scripts.restoreLeases, [caller, owner, String(leaseMs), epoch], (job) => [
      job.run,
      job.tenant,
      job.lane,
      String(job.score),
    ]);
  }

  /** Ends leases of `owner`; each job becomes ready or waits, at the earlier of its time and of what came meanwhile. */
  async release(jobs: readonly (Job & JobWait)[], owner: string): Promise<void> {
    await this.#perShard(jobs, scripts.release, [owner], (job) => [
      job.run,
      job.tenant,
      job.lane,
      String(job.score),
      job.status,
      String(Math.max(0, Math.ceil(job.delayMs))),
    ]);
  }

  /** Removes jobs whose runs have ended, unless another than `owner` holds them. `owner` empty: nobody's, the edge asks. */
  async finish(jobs: readonly JobName[], owner: string): Promise<void> {
    await this.#perShard(jobs, scripts.finish, [owner], (job) => [job.run]);
  }

  /** Tells this Redis the limits of tenants; an older version changes nothing. Acts on a cold shard too. */
  async pushLimits(limits: readonly Limits[]): Promise<void> {
    await this.#perShard(limits, scripts.limits, [], (limit) => [
      limit.tenant,
      String(limit.version),
      String(limit.maxConcurrentRuns),
      String(limit.maxQueuedRuns),
      String(limit.requestsPerSecond),
      String(limit.weight),
    ]);
  }

  /**
   * Puts tenants with ready jobs into the rings they should be in, at most `count`, by name after `after`.
   * @returns the name to go on after, empty when all have been seen
   */
  async repairRing(shard: number, lane: Lane, after: string, count: number): Promise<string> {
    return z.string().parse(await this.#run(shard, scripts.repairRing, [lane, after, String(count)]));
  }

  /** Some of the jobs of a shard, whatever their state. @returns the next cursor, "0" when all have been named */
  async list(shard: number, cursor: string, count: number): Promise<{ cursor: string; jobs: JobName[] }> {
    const reply = await this.#run(shard, scripts.list, [cursor, String(count)]);
    const [next = "0", ...flat] = z.array(z.coerce.string()).parse(reply);
    return { cursor: next, jobs: readNames(flat) };
  }

  async stats(shard: number): Promise<QueueStats> {
    const reply = z.array(z.coerce.number()).parse(await this.#run(shard, scripts.stats, []));
    const [reserved = 0, ready = 0, due = 0, timer = 0, leased = 0, tenants = 0, ...perLane] = reply;
    const lanes = Object.fromEntries(Lane.options.map((lane, i) => [lane, { ready: perLane[i] ?? 0 }]));
    return {
      reserved,
      ready,
      due,
      timer,
      leased,
      tenants,
      lanes: z.record(Lane, z.object({ ready: z.number() })).parse(lanes),
    };
  }

  /** The counts that the limits of one tenant are held against. */
  async tenantStats(tenant: TenantId): Promise<{ active: number; open: number }> {
    const shard = queueShardOf(tenant, this.shards);
    const reply = await this.#run(shard, scripts.stats, [tenant]);
    const [active = 0, open = 0] = z.array(z.coerce.number()).parse(reply);
    return { active, open };
  }

  /**
   * Forgets everything on a cold shard: the first step of a rebuild, which takes it away from whoever is at it.
   * @returns the epoch of the index to come; null: the shard is not cold any more, and has forgotten nothing
   */
  async reset(shard: number): Promise<string | null> {
    const epoch = z.string().parse(await this.#call(shard, scripts.reset, []));
    return epoch === "known" ? null : epoch;
  }

  /**
   * Gives a shard its index, if it has none: from now on jobs may be claimed, and a walk shows it all that is due.
   * @throws ColdError when `epoch` is not that of its last reset, or is lost with all that it was told since
   */
  async beginIndex(shard: number, epoch: string): Promise<void> {
    await this.#run(shard, scripts.index, ["begin", epoch]);
  }

  /** Tells a shard that runs were let in without it: it does not count again before walks have shown it all of them. */
  async invalidateCounts(shard: number): Promise<void> {
    await this.#run(shard, scripts.index, ["doubt"]);
  }

  async readIndex(shard: number): Promise<IndexProgress> {
    return readProgress(await this.#run(shard, scripts.index, []));
  }

  /**
   * Notes how far a walk has come; with `uptoMs` that it is through.
   * @returns false: it is not the walk that this shard knows, so it proves nothing
   */
  async advanceScan(shard: number, known: KnownScan, walked: string, uptoMs?: number): Promise<boolean> {
    const args = ["walk", known.epoch, known.walked, walked, String(uptoMs ?? "")];
    return (await this.#run(shard, scripts.index, args)) !== "stale";
  }

  /** Notes that a shard has been told all limits that were changed by a time. A lower one, or another index, changes nothing. */
  async advanceLimits(shard: number, epoch: string, limitsUptoMs: number): Promise<void> {
    await this.#run(shard, scripts.index, ["limits", epoch, String(limitsUptoMs)]);
  }

  async #run(shard: number, script: Script, args: string[]): Promise<unknown> {
    const reply = await this.#call(shard, script, args);
    if (reply === "cold") throw new ColdError(shard);
    return reply;
  }

  async #call(shard: number, script: Script, args: string[]): Promise<unknown> {
    return await run(this.#redis, script, [keys.ready(shard)], [...args, String(this.shards)]);
  }

  async #perShard<Item extends { tenant: TenantId }>(
    items: readonly Item[],
    script: Script,
    head: string[],
    toArgs: (item: Item) => string[],
  ): Promise<unknown[]> {
    const byShard = Map.groupBy(items, (item) => queueShardOf(item.tenant, this.shards));
    return Promise.all(
      Array.from(byShard, ([shard, group]) => this.#run(shard, script, [...head, ...group.flatMap(toArgs)])),
    );
  }
}

/** Runs and their tenants, one after the other. */
function readNames(flat: readonly string[]): JobName[] {
  const names: JobName[] = [];
  for (let i = 0; i + 1 < flat.length; i += 2) {
    names.push({ run: RunId.parse(flat[i]), tenant: TenantId.parse(flat[i + 1]) });
  }
  return names;
}

function readVerdict(answer: string): QueueVerdict {
  const [word, value] = answer.split(" ");
  switch (word) {
    case "ok":
      return { ok: true };
    case "rate":
      return { ok: false, reason: "rate", retryMs: Number(value) };
    case "queued":
      return { ok: false, reason: "queued", limit: Number(value) };
    case "depth":
    case "disabled":
    case "unknown":
    case "rebuilding":
      return { ok: false, reason: word };
    default:
      throw new Error(`admit answered ${answer}`);
  }
}

function readProgress(reply: unknown): IndexProgress {
  const [epoch = "", walked = "", upto = "", full, limitsUpto = ""] = z.array(z.coerce.string()).parse(reply);
  return { epoch, walked, uptoMs: readMs(upto), quotaReady: full === "1", limitsUptoMs: readMs(limitsUpto) };
}

function readMs(text: string): number {
  return text === "-inf" ? -Infinity : Number(text);
}
