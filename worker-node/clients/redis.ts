import { Cluster, Redis, type RedisOptions } from "ioredis";
import { isRefusedSelect } from "../../shared/queue/refused-select.ts";
import type { RedisCommands } from "../../shared/queue/scripts.ts";
import { inCurrentStoreSpan, untraced } from "../tracing/tracing.ts";
import type { CurrentTracing } from "../tracing/tracing.ts";
import type { RedisTarget } from "./redis-url.ts";

/** The options that differ from connection to connection; all others are set here. */
export type ConnectOptions = Pick<
  RedisOptions,
  "connectionName" | "commandTimeout" | "socketTimeout" | "stringNumbers" | "blockingTimeout"
>;

const CONNECT_TIMEOUT_MS = 2_000;
/** A connection without a reply for this time is half open: no command of a worker takes or blocks longer. */
const SOCKET_TIMEOUT_MS = 8_000;
/**
 * The errors of a master that was demoted, also in the words of a hosted Redis, whose proxy puts an ERR before them. The client reconnects
 * then: another node may have its address by now.
 */
const isDemoted = ({ message }: Error) => /^(ERR )?(READONLY|MASTERDOWN)/.test(message);
/** At most a second between two tries, so the client reaches a Redis within about a second of its return. */
const reconnectDelayMs = (tries: number) => Math.min(50 * 2 ** Math.min(tries - 1, 5), 1_000);

/**
 * Opens a client whose commands fail fast and that never stops to reconnect. While Redis is unreachable every command is rejected at once (no
 * queue that grows, nothing is sent twice), and the client reconnects without end. The caller listens to `error`, and ends
 * the client with `disconnect()`.
 *
 * `protocol: 2`: under RESP3 ioredis flattens nested replies (XREAD, maps), and callers would get other shapes.
 */
export function connectRedis(target: RedisTarget, options: ConnectOptions = {}): Redis | Cluster {
  const common = {
    socketTimeout: SOCKET_TIMEOUT_MS,
    ...options,
    protocol: 2,
    connectTimeout: CONNECT_TIMEOUT_MS,
    reconnectOnError: isDemoted,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    ...(target.username !== undefined && { username: target.username }),
    ...(target.password !== undefined && { password: target.password }),
    ...(target.tls && { tls: {} }),
  } satisfies RedisOptions;
  const singleNode = {
    ...common,
    enableOfflineQueue: false,
    retryStrategy: reconnectDelayMs,
  } satisfies RedisOptions;

  if (target.kind === "single")
    return inItsDatabase(new Redis({ ...singleNode, ...target.node, db: target.db }));
  if (target.kind === "sentinel") {
    return inItsDatabase(
      new Redis({
        ...singleNode,
        name: target.name,
        sentinels: target.sentinels,
        db: target.db,
        enableTLSForSentinelMode: target.tls,
        sentinelRetryStrategy: reconnectDelayMs,
      }),
    );
  }
  return new Cluster(target.nodes, {
    // A node keeps its own short queue: ioredis opens a node's connection with its first command.
    redisOptions: common,
    enableOfflineQueue: false,
    clusterRetryStrategy: reconnectDelayMs,
    // The default is 16, 100 ms apart: a dead cluster would be noticed after 1.6 s only.
    maxRedirections: 6,
    // Certificates name hosts, and a cluster with TLS announces host names: resolving them first would break both.
    ...(target.tls && { dnsLookup: (address, done) => done(null, address) }),
  });
}

/** The client, which is unreachable for as long as Redis refuses its database. */
function inItsDatabase(redis: Redis): Redis {
  return redis.on("error", (error: unknown) => {
    if (isRefusedSelect(error)) redis.disconnect(true);
  });
}

/** Runs the queue's scripts over a client. */
export function scriptCommands(redis: Redis | Cluster, tracing: CurrentTracing = untraced): RedisCommands {
  const traced = (operation: string, args: string[], work: () => Promise<unknown>): Promise<unknown> =>
    inCurrentStoreSpan(tracing, { store: "redis", operation, args }, work);
  return {
    evalsha: (sha, keys, args, verb) =>
      traced(verb, args, () => redis.evalsha(sha, keys.length, ...keys, ...args)),
    eval: (script, keys, args, verb) =>
      traced(verb, args, () => redis.eval(script, keys.length, ...keys, ...args)),
  };
}
