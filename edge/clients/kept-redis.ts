import type { Redis } from "ioredis";
import { log, messageOf } from "../../shared/log.ts";
import { isUnknownScript } from "../../shared/queue/scripts.ts";
import type { RedisCommands } from "../../shared/queue/scripts.ts";
import { REDIS_REQUEST_MS } from "../../shared/timing.ts";
import { inRedisSpan, redisAway } from "./redis.ts";

/** After a failure the next try to connect waits this long; meanwhile commands go over REST. */
const AGAIN_MS = 5_000;
/** An unused connection is closed: the runtime keeps an object for as long as it has one. */
const IDLE_MS = 10_000;

/**
 * The queue's commands over one kept TCP connection, for an object that outlives a request: a command over REST passes two more
 * processes' HTTP. Whatever the connection cannot do is done over REST, as before it is open, so it is no further point of failure:
 *
 * - While there is no connection, a command goes over REST at once, and none waits for one.
 * - A command whose connection broke, or that got an error reply (of a replica, another node of a cluster, or for a user without
 *   rights), is repeated over REST: every verb of the queue may be repeated. A fault of ours gets its error there again.
 * - A command without a reply in time is not repeated: the caller has waited as long as for REST.
 *
 * @param open makes a connection with the settings `KEPT_REDIS`, which is not connected yet
 */
export function keptCommands(open: () => Redis, rest: RedisCommands): RedisCommands {
  const connection = new KeptConnection(open);
  const send = async (
    overTcp: (redis: Redis) => Promise<unknown>,
    overRest: () => Promise<unknown>,
  ): Promise<unknown> => {
    const redis = connection.use();
    if (redis === null) return overRest();
    const sentMs = Date.now();
    try {
      return await overTcp(redis);
    } catch (error) {
      if (isUnknownScript(error)) throw error;
      connection.fail(redis, error);
      if (Date.now() - sentMs >= REDIS_REQUEST_MS) throw redisAway(error);
      return overRest();
    }
  };
  return {
    evalsha: (sha, keys, args, verb) =>
      send(
        (redis) => inRedisSpan(verb, () => redis.evalsha(sha, keys.length, ...keys, ...args)),
        () => rest.evalsha(sha, keys, args, verb),
      ),
    eval: (script, keys, args, verb) =>
      send(
        (redis) => inRedisSpan(verb, () => redis.eval(script, keys.length, ...keys, ...args)),
        () => rest.eval(script, keys, args, verb),
      ),
  };
}

/** One connection, opened when it is needed and closed when it is not. */
class KeptConnection {
  readonly #open: () => Redis;
  #redis: Redis | null = null;
  #usedMs = 0;
  #againMs = 0;

  constructor(open: () => Redis) {
    this.#open = open;
  }

  /** The connection, if it is open; else null, and it is opened for later calls. */
  use(): Redis | null {
    const nowMs = Date.now();
    this.#usedMs = nowMs;
    if (this.#redis === null && nowMs >= this.#againMs) this.#connect();
    return this.#redis?.status === "ready" ? this.#redis : null;
  }

  /** Closes a connection that has failed. */
  fail(redis: Redis, error?: unknown): void {
    if (this.#redis !== redis) return;
    log.info("intake.redis_connection_failed", { ...(error !== undefined && { message: messageOf(error) }) });
    this.#againMs = Date.now() + AGAIN_MS;
    this.#redis = null;
    redis.disconnect();
  }

  #connect(): void {
    const redis = this.#open();
    this.#redis = redis;
    // The same error also rejects the pending commands.
    let cause: unknown;
    redis.on("error", (error) => (cause = error));
    const idle = setInterval(() => {
      if (this.#redis === redis && Date.now() - this.#usedMs < IDLE_MS) return;
      if (this.#redis === redis) this.#redis = null;
      redis.disconnect();
    }, IDLE_MS);
    redis.once("end", () => {
      clearInterval(idle);
      this.fail(redis, cause);
    });
    redis.connect().catch((error: unknown) => this.fail(redis, error));
  }
}
