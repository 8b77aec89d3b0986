import { Redis } from "@upstash/redis/cloudflare";
import { AppError } from "../shared/errors.ts";
import { Queue } from "../shared/queue/queue.ts";
import type { RedisCommands } from "../shared/queue/script.ts";
import type { Config } from "./env.ts";

/** A Redis that has not answered for this long is away; the client of the API has waited long enough. */
const TIMEOUT_MS = 1_500;

/** What Redis says when it is in reach and the fault is ours. */
const OUR_FAULT = /\b(NOSCRIPT|WRONGTYPE|CROSSSLOT|SHARDS|ERR (?!redis is not reachable|max))/;

const queues = new WeakMap<Config, Queue>();

/** The queue, one for all requests of an isolate: making the client costs a seventh of what a request does. */
export function queueOf(config: Config): Queue {
  const known = queues.get(config);
  if (known) return known;
  const queue = new Queue(restCommands(config), config.QUEUE_SHARDS);
  queues.set(config, queue);
  return queue;
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
  return {
    evalsha: (sha, keys, args) => orAway(redis.evalsha(sha, keys, args)),
    eval: (script, keys, args) => orAway(redis.eval(script, keys, args)),
  };
}

async function orAway(answer: Promise<unknown>): Promise<unknown> {
  try {
    return await answer;
  } catch (cause) {
    if (cause instanceof Error && OUR_FAULT.test(cause.message)) throw cause;
    throw new AppError("redis_away", "The queue cannot be reached; try again in a moment.", {
      cause,
      retryAfterSeconds: 2,
    });
  }
}
