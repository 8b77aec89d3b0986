import { Redis } from "@upstash/redis/cloudflare";
import { AppError } from "../shared/errors.ts";
import { Queue } from "../shared/queue/queue.ts";
import type { RedisCommands } from "../shared/queue/script.ts";
import type { Config } from "./env.ts";

/** A Redis that has not answered for this long is away; the client of the API has waited long enough. */
const TIMEOUT_MS = 1_500;

/** What Redis says when it is in reach and the fault is ours. */
const OUR_FAULT = /\b(NOSCRIPT|WRONGTYPE|CROSSSLOT|SHARDS|ERR (?!redis is not reachable|max))/;

/** After it was away, the queue may not know of what was let in without it until the reconciler has walked twice. */
const DOUBT_MS = 15_000;

const queues = new WeakMap<Config, EdgeQueue>();

/** The queue, one for all requests of an isolate: making the client costs a seventh of what a request does. */
export function queueOf(config: Config): EdgeQueue {
  const known = queues.get(config);
  if (known) return known;
  const queue = new EdgeQueue(config);
  queues.set(config, queue);
  return queue;
}

/** When Redis did not answer for the last time. */
type Reach = { lostMs: number };

/** A queue that remembers when it could not be reached. */
export class EdgeQueue extends Queue {
  readonly #reach: Reach;

  constructor(config: Config, reach: Reach = { lostMs: -Infinity }) {
    super(restCommands(config, reach), config.QUEUE_SHARDS);
    this.#reach = reach;
  }

  /** What it counts may be too little: it was away a moment ago, and runs were let in without it. */
  get isDoubtful(): boolean {
    return Date.now() - this.#reach.lostMs < DOUBT_MS;
  }

  /** Takes it for one that was away until now. */
  doubt(): void {
    this.#reach.lostMs = Date.now();
  }
}

/**
 * Redis over REST: the runtime shares its HTTP connections between requests, which it cannot do with TCP.
 *
 * The SDK's defaults are changed because they take 4.3 s to notice that Redis is gone, and parse values as JSON.
 * @throws AppError `redis_away` from each command that gets no answer.
 */
function restCommands(config: Config, reach: Reach): RedisCommands {
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
    evalsha: (sha, keys, args) => orAway(redis.evalsha(sha, keys, args), reach),
    eval: (script, keys, args) => orAway(redis.eval(script, keys, args), reach),
  };
}

async function orAway(answer: Promise<unknown>, reach: Reach): Promise<unknown> {
  try {
    return await answer;
  } catch (cause) {
    if (cause instanceof Error && OUR_FAULT.test(cause.message)) throw cause;
    reach.lostMs = Date.now();
    throw new AppError("redis_away", "The queue cannot be reached; try again in a moment.", {
      cause,
      retryAfterSeconds: 2,
    });
  }
}
