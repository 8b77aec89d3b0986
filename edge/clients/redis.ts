import { Redis } from "@upstash/redis/cloudflare";
import type { TenantId } from "../../shared/contracts/ids.ts";
import { AppError } from "../../shared/errors.ts";
import { queueShardOf } from "../../shared/keys.ts";
import { Queue } from "../../shared/queue/queue.ts";
import { ColdError } from "../../shared/queue/scripts.ts";
import type { JobName } from "../../shared/queue/job.ts";
import type { QueueVerdict } from "../../shared/queue/queue.ts";
import type { RedisCommands } from "../../shared/queue/scripts.ts";
import { REDIS_REQUEST_MS } from "../../shared/timing.ts";
import type { Config } from "../env.ts";

/** Error replies of a reachable Redis: the fault is in the edge's request, or in its configuration. */
const OUR_FAULT = /\b(NOSCRIPT|WRONGTYPE|CROSSSLOT|SHARDS|ERR (?!redis is not reachable|max))/;

/** After a timeout, commands fail at once for this long: each of them would time out too. */
const FAIL_FAST_MS = 2_000;

const queues = new WeakMap<Config, EdgeQueue>();

/** The queue, one for all requests of an isolate: making the client takes a seventh of the time of a request. */
export function queueOf(config: Config): EdgeQueue {
  const known = queues.get(config);
  if (known) return known;
  const queue = new EdgeQueue(config);
  queues.set(config, queue);
  return queue;
}

/**
 * A queue that remembers on which shards runs were committed without a reservation. Such a shard's counts are too low, so
 * they are invalidated before its next `admit`; then Postgres counts, until scans have enqueued all runs on the shard.
 */
export class EdgeQueue extends Queue {
  /** Shards whose counts are to be invalidated before they admit again. */
  readonly #miscounted = new Set<number>();

  constructor(config: Config) {
    super(restCommands(config), config.QUEUE_SHARDS);
  }

  /** Call it before runs of these tenants are committed without a reservation. */
  invalidateCountsOf(tenants: Iterable<TenantId>): void {
    for (const tenant of tenants) this.#miscounted.add(queueShardOf(tenant, this.shards));
  }

  /** Call it in a new process: an earlier process may have committed runs without a reservation. */
  invalidateAllCounts(): void {
    for (let shard = 0; shard < this.shards; shard++) this.#miscounted.add(shard);
  }

  override async admit(requests: readonly JobName[], maxDepth: number): Promise<QueueVerdict[]> {
    for (const shard of new Set(requests.map(({ tenant }) => queueShardOf(tenant, this.shards)))) {
      if (!this.#miscounted.has(shard)) continue;
      // A cold shard is about to be rebuilt, and does not count before that either.
      await this.invalidateCounts(shard).catch((error: unknown) => {
        if (!(error instanceof ColdError)) throw error;
      });
      this.#miscounted.delete(shard);
    }
    return super.admit(requests, maxDepth);
  }
}

/**
 * Redis over REST: the runtime shares HTTP connections between requests, which it cannot do with TCP sockets.
 *
 * The SDK's defaults are changed because they take 4.3 s to notice that Redis is gone, and parse values as JSON.
 * @throws AppError `redis_away` from each command that gets no reply
 */
function restCommands(config: Config): RedisCommands {
  const redis = new Redis({
    url: config.UPSTASH_REDIS_REST_URL,
    token: config.UPSTASH_REDIS_REST_TOKEN,
    automaticDeserialization: false,
    enableAutoPipelining: false,
    enableTelemetry: false,
    responseEncoding: false,
    retry: { retries: 1, backoff: () => 50 },
    signal: () => AbortSignal.timeout(REDIS_REQUEST_MS),
  });
  const send = failFast();
  return {
    evalsha: (sha, keys, args) => send(() => redis.evalsha(sha, keys, args)),
    eval: (script, keys, args) => send(() => redis.eval(script, keys, args)),
  };
}

/** Sends a command. Fails at once when another command has timed out less than FAIL_FAST_MS ago. */
function failFast(): (command: () => Promise<unknown>) => Promise<unknown> {
  let timedOutMs = -Infinity;
  return async (command) => {
    const sentMs = Date.now();
    if (sentMs - timedOutMs < FAIL_FAST_MS) throw redisAway(null);
    try {
      return await command();
    } catch (cause) {
      if (cause instanceof Error && OUR_FAULT.test(cause.message)) throw cause;
      if (Date.now() - sentMs >= REDIS_REQUEST_MS) timedOutMs = Date.now();
      throw redisAway(cause);
    }
  };
}

function redisAway(cause: unknown): AppError {
  return new AppError("redis_away", "The queue cannot be reached; try again in a moment.", {
    cause,
    retryAfterSeconds: 2,
  });
}
