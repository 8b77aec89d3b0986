import { Redis } from "@upstash/redis/cloudflare";
import type { TenantId } from "../../shared/contracts/ids.ts";
import { AppError } from "../../shared/errors.ts";
import { queueShardOf } from "../../shared/keys.ts";
import { Queue } from "../../shared/queue/queue.ts";
import { ColdError } from "../../shared/queue/shard-scripts.ts";
import type { JobName } from "../../shared/queue/job.ts";
import type { QueueVerdict } from "../../shared/queue/verdict.ts";
import type { RedisCommands } from "../../shared/queue/script.ts";
import type { Config } from "../env.ts";

/** A Redis that has not answered for this long is away; the client of the API has waited long enough. */
const TIMEOUT_MS = 1_500;

/** What Redis says when it is in reach and the fault is ours. */
const OUR_FAULT = /\b(NOSCRIPT|WRONGTYPE|CROSSSLOT|SHARDS|ERR (?!redis is not reachable|max))/;

/** A Redis that hung is not waited for again so soon: every request in between would wait for nothing. */
const HUNG_MS = 2_000;

const queues = new WeakMap<Config, EdgeQueue>();

/** The queue, one for all requests of an isolate: making the client costs a seventh of what a request does. */
export function queueOf(config: Config): EdgeQueue {
  const known = queues.get(config);
  if (known) return known;
  const queue = new EdgeQueue(config);
  queues.set(config, queue);
  return queue;
}

/**
 * A queue that remembers that runs were let in without it. Before it is asked again it is told so: it does not know of
 * them yet, and must not count for a while.
 */
export class EdgeQueue extends Queue {
  readonly #missed = new Set<number>();

  constructor(config: Config) {
    super(restCommands(config), config.QUEUE_SHARDS);
  }

  /** Runs of these tenants are let in, and the queue does not know. */
  missed(tenants: Iterable<TenantId>): void {
    for (const tenant of tenants) this.#missed.add(queueShardOf(tenant, this.shards));
  }

  /** Nobody knows what was let in before this process began. */
  missedAll(): void {
    for (let shard = 0; shard < this.shards; shard++) this.#missed.add(shard);
  }

  override async admit(requests: readonly JobName[], maxDepth: number): Promise<QueueVerdict[]> {
    for (const shard of new Set(requests.map(({ tenant }) => queueShardOf(tenant, this.shards)))) {
      if (!this.#missed.has(shard)) continue;
      // A cold one is about to be rebuilt, which takes the same walks.
      await this.invalidateCounts(shard).catch((error: unknown) => {
        if (!(error instanceof ColdError)) throw error;
      });
      this.#missed.delete(shard);
    }
    return super.admit(requests, maxDepth);
  }
}

/**
 * Redis over REST: the runtime shares its HTTP connections between requests, which it cannot do with TCP.
 *
 * The SDK's defaults are changed because they take 4.3 s to notice that Redis is gone, and parse values as JSON.
 * @throws AppError `redis_away` from each command that gets no answer.
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
    signal: () => AbortSignal.timeout(TIMEOUT_MS),
  });
  const askOrAway = notHung();
  return {
    evalsha: (sha, keys, args) => askOrAway(() => redis.evalsha(sha, keys, args)),
    eval: (script, keys, args) => askOrAway(() => redis.eval(script, keys, args)),
  };
}

/** Asks, unless somebody has just waited in vain. */
function notHung(): (ask: () => Promise<unknown>) => Promise<unknown> {
  let hungMs = -Infinity;
  return async (ask) => {
    const askedMs = Date.now();
    if (askedMs - hungMs < HUNG_MS) throw away(null);
    try {
      return await ask();
    } catch (cause) {
      if (cause instanceof Error && OUR_FAULT.test(cause.message)) throw cause;
      if (Date.now() - askedMs >= TIMEOUT_MS) hungMs = Date.now();
      throw away(cause);
    }
  };
}

function away(cause: unknown): AppError {
  return new AppError("redis_away", "The queue cannot be reached; try again in a moment.", {
    cause,
    retryAfterSeconds: 2,
  });
}
