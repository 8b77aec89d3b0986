import type { Redis } from "ioredis";
import { log, messageOf } from "../../shared/log.ts";
import { isUnknownScript } from "../../shared/queue/scripts.ts";
import type { RedisCommands } from "../../shared/queue/scripts.ts";
import { REDIS_REQUEST_MS } from "../../shared/timing.ts";
import { elapsedMs } from "../../shared/tasks/elapsed-ms.ts";
import { inRedisSpan, redisAway } from "./redis.ts";

/** After a failure the next try to connect waits this long; meanwhile commands go over REST. */
const AGAIN_MS = 5_000;
/** An unused connection is closed: the runtime keeps an object for as long as it has one. */
const IDLE_MS = 10_000;
/** How often a connection and its commands are compared with their time limits. */
const LOOK_MS = 250;

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
    const sentMs = elapsedMs();
    try {
      return await connection.inTime(sentMs, overTcp(redis));
    } catch (error) {
      if (isUnknownScript(error)) throw error;
      connection.fail(redis, error);
      if (elapsedMs() - sentMs >= REDIS_REQUEST_MS) throw redisAway(error);
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

type Sent = { ms: number; giveUp(error: unknown): void };

/**
 * One connection, opened when it is needed and closed when it is not. It has one timer for all its time limits: a timer for each
 * command, such as the client's `commandTimeout`, would be cleared with the reply, and keep memory for as long as the object lives
 * (`findings/workerd-cleared-timer-stays.sh`).
 */
class KeptConnection {
  readonly #open: () => Redis;
  #redis: Redis | null = null;
  /** Its commands without a reply, the oldest first. */
  readonly #sent = new Set<Sent>();
  #usedMs = 0;
  #againMs = 0;

  constructor(open: () => Redis) {
    this.#open = open;
  }

  /** The connection, if it is open; else null, and it is opened for later calls. */
  use(): Redis | null {
    const nowMs = elapsedMs();
    this.#usedMs = nowMs;
    if (this.#redis === null && nowMs >= this.#againMs) this.#connect(nowMs);
    return this.#redis?.status === "ready" ? this.#redis : null;
  }

  /** The reply of a command. It rejects when the connection fails, which it does when the reply of one command takes too long. */
  async inTime<Reply>(sentMs: number, reply: Promise<Reply>): Promise<Reply> {
    const { promise: failed, reject } = Promise.withResolvers<never>();
    const sent = { ms: sentMs, giveUp: reject };
    this.#sent.add(sent);
    try {
      return await Promise.race([reply, failed]);
    } finally {
      this.#sent.delete(sent);
    }
  }

  /** Closes a connection that has failed. */
  fail(redis: Redis, error?: unknown): void {
    if (this.#redis !== redis) return;
    log.info("intake.redis_connection_failed", { ...(error !== undefined && { message: messageOf(error) }) });
    this.#againMs = elapsedMs() + AGAIN_MS;
    this.#redis = null;
    redis.disconnect();
    for (const { giveUp } of this.#sent) giveUp(error);
  }

  #connect(openedMs: number): void {
    const redis = this.#open();
    this.#redis = redis;
    // The same error also rejects the pending commands.
    let cause: unknown;
    redis.on("error", (error) => (cause = error));
    redis.once("end", () => this.fail(redis, cause));
    const look = setInterval(() => {
      if (this.#redis === redis) this.#closeWhenLate(redis, openedMs);
      // In its own callback, which keeps nothing.
      else clearInterval(look);
    }, LOOK_MS);
    redis.connect().catch((error: unknown) => this.fail(redis, error));
  }

  /** Closes the connection when nothing uses it, when it is not open in time, or when a command has no reply in time. */
  #closeWhenLate(redis: Redis, openedMs: number): void {
    const nowMs = elapsedMs();
    const [oldest] = this.#sent;
    const sinceMs = redis.status === "ready" ? oldest?.ms : openedMs;
    if (sinceMs !== undefined && nowMs - sinceMs >= REDIS_REQUEST_MS) {
      this.fail(redis, new Error(`Redis did not reply within ${REDIS_REQUEST_MS} ms`));
    } else if (nowMs - this.#usedMs >= IDLE_MS) {
      this.#redis = null;
      redis.disconnect();
    }
  }
}
