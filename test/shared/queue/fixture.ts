import { Redis } from "ioredis";
import { RunId, TenantId } from "../../../shared/contracts/ids.ts";
import type { Lane } from "../../../shared/contracts/run.ts";
import { keys } from "../../../shared/keys.ts";
import type { Service } from "../../../local/processes/child.ts";
import { Queue } from "../../../shared/queue/queue.ts";
import type { Job, JobWait } from "../../../shared/queue/job.ts";
import { NO_LIMIT } from "../../../shared/queue/limits.ts";
import type { Limits } from "../../../shared/queue/limits.ts";
import { startRedis } from "../../services/services.ts";
import { makeQuotaReady } from "./rebuild-shard.ts";
import { timed, type Clock, type Rewrite } from "./timed.ts";

export const START_MS = 1_800_000_000_000;
export const LEASE_MS = 15_000;

/** Room in every lane, for tests that are not about lanes. */
export const ALL_LANES: Partial<Record<Lane, number>> = {
  interactive: 1000,
  default: 1000,
  bulk: 1000,
  mail: 1000,
  webhooks: 1000,
};

export const tenant = (name: string): TenantId => TenantId.parse(name);
export const runOf = (number: number): RunId =>
  RunId.parse(`run_${number.toString(16).padStart(12, "0")}_${START_MS}`);

/** A job of run `number`, ready at once unless `changes` say otherwise. */
export function job(number: number, tenantName: string, changes: Partial<Job & JobWait> = {}): Job & JobWait {
  return {
    run: runOf(number),
    tenant: tenant(tenantName),
    lane: "default",
    score: START_MS + number,
    status: "queued",
    delayMs: 0,
    ...changes,
  };
}

export function limits(tenantName: string, changes: Partial<Limits> = {}): Limits {
  return {
    tenant: tenant(tenantName),
    version: 1,
    maxConcurrentRuns: 1000,
    maxQueuedRuns: 100_000,
    requestsPerSecond: 1_000_000,
    weight: 1,
    runsPerMinute: NO_LIMIT,
    ...changes,
  };
}

/** A queue of one shard on a Redis of its own, with a clock that the test moves. */
export class TestQueue {
  readonly clock: Clock = { nowMs: START_MS };
  readonly redis: Redis;
  readonly queue: Queue;
  readonly #service: Service;

  private constructor(service: Service) {
    this.#service = service;
    this.redis = new Redis(service.url, { protocol: 2 });
    this.queue = new Queue(timed(this.redis, this.clock), 1);
  }

  static async start(): Promise<TestQueue> {
    return new TestQueue(await startRedis());
  }

  get url(): string {
    return this.#service.url;
  }

  /** Empties Redis, makes the shard quota ready at START_MS, and pushes the limits of these tenants. */
  async begin(...tenants: Limits[]): Promise<void> {
    this.clock.nowMs = START_MS;
    await this.redis.flushall();
    await makeQuotaReady(this.queue, 0, START_MS);
    await this.queue.pushLimits(tenants);
  }

  /** A queue on the same Redis and clock with changed scripts. */
  rewritten(rewrite: Rewrite): Queue {
    return new Queue(timed(this.redis, this.clock, rewrite), 1);
  }

  /** Claims, and returns the numbers of the claimed runs. */
  async claim(owner: string, slots: number, lanes = ALL_LANES): Promise<number[]> {
    const { runs } = await this.queue.claim({ shard: 0, owner, leaseMs: LEASE_MS, slots, lanes, ended: [] });
    return runs.map(({ run }) => numberOf(run));
  }

  key(name: string): string {
    return name === "ready" ? keys.ready(0) : `{${keys.ready(0)}}:${name}`;
  }

  async stop(): Promise<void> {
    this.redis.disconnect();
    await this.#service.stop();
  }
}

export const numberOf = (run: RunId): number => Number.parseInt(run.slice(4, 16), 16);
