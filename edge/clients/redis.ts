import { Redis } from "@upstash/redis/cloudflare";
import { AppError } from "../../shared/errors.ts";
import { isUnknownScript } from "../../shared/queue/scripts.ts";
import type { RedisCommands } from "../../shared/queue/scripts.ts";
import { REDIS_REQUEST_MS } from "../../shared/timing.ts";
import { redisAttributes } from "../../shared/tracing/store-attributes.ts";
import { elapsedMs } from "../../shared/tasks/elapsed-ms.ts";
import type { Config } from "../env.ts";
import { inChildSpan } from "../tracing/current-span.ts";

/**
 * Error replies that mean a fault of the edge's request or configuration. Redis was reachable, so they are not `redis_away`. Of those
 * with ERR these are none: a hosted Redis that is full or beyond a limit of its plan (upstash.com/docs/redis/troubleshooting), or whose
 * proxy leads to a replica; and `ERR redis …`, with which the REST front says that it has no reply.
 */
const OUR_FAULT = /\b(NOSCRIPT|WRONGTYPE|CROSSSLOT|SHARDS|ERR (?!redis |max|DB capacity|READONLY))/;

/** Whether this is such a reply: the same command would get it again, on any connection. */
function isOurFault(error: unknown): error is Error {
  return error instanceof Error && OUR_FAULT.test(error.message);
}

/** After a timeout, commands fail at once for this long, because each of them would time out too. */
const FAIL_FAST_MS = 2_000;

/**
 * Redis over REST. The runtime shares HTTP connections between requests, which it cannot do with TCP sockets.
 *
 * The SDK's defaults are changed because they take 4.3 s to notice that Redis is gone, and parse values as JSON.
 * @throws AppError `redis_away` from each command that gets no reply
 */
export function restCommands(config: Config): RedisCommands {
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
    evalsha: (sha, keys, args, verb) => inRedisSpan(verb, () => send(() => redis.evalsha(sha, keys, args))),
    eval: (script, keys, args, verb) => inRedisSpan(verb, () => send(() => redis.eval(script, keys, args))),
  };
}

/** Executes a verb of the queue in a span of its own. The span has no argument of the verb. */
export function inRedisSpan(verb: string, work: () => Promise<unknown>): Promise<unknown> {
  const options = {
    kind: "client" as const,
    attributes: redisAttributes(verb),
    isFailure: (error: unknown) => !isUnknownScript(error),
  };
  return inChildSpan(`redis ${verb}`, options, work);
}

/**
 * The error with the reply of Redis alone. The SDK's quotes the command after it: a whole script, and names of a tenant's choice, whose words are
 * no words of Redis.
 */
function withoutCommand(thrown: unknown): unknown {
  if (!(thrown instanceof Error)) return thrown;
  const end = thrown.message.indexOf(", command was: ");
  return end === -1 ? thrown : new Error(thrown.message.slice(0, end));
}

/** Sends a command. Fails at once when another command has timed out less than FAIL_FAST_MS ago. */
function failFast(): (command: () => Promise<unknown>) => Promise<unknown> {
  let timedOutMs = -Infinity;
  return async (command) => {
    const sentMs = elapsedMs();
    if (sentMs - timedOutMs < FAIL_FAST_MS) throw redisAway(null);
    try {
      return await command();
    } catch (thrown) {
      const cause = withoutCommand(thrown);
      if (isOurFault(cause)) throw cause;
      if (elapsedMs() - sentMs >= REDIS_REQUEST_MS) timedOutMs = elapsedMs();
      throw redisAway(cause);
    }
  };
}

export function redisAway(cause: unknown): AppError {
  return new AppError("redis_away", "The queue cannot be reached; try again in a moment.", {
    cause,
    retryAfterSeconds: 2,
  });
}
