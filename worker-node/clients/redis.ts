/**
 * From REDIS_URL to a connected client, for every process that speaks TCP to Redis.
 *
 * One Redis, a Redis Cluster and a Redis behind Sentinel are three values of one type, so that nothing
 * after this file asks which of them it has.
 */
import { Cluster, Redis, type RedisOptions } from "ioredis";
import { z } from "zod";
import type { RedisCommands } from "../../shared/queue/script.ts";

export interface HostAndPort {
  host: string;
  port: number;
}

/** Who asks, and whether the wire is encrypted: the same for every node of a cluster. */
interface Access {
  username?: string;
  password?: string;
  tls: boolean;
}

export type RedisTarget = Access &
  (
    | { kind: "single"; node: HostAndPort; db: number }
    | { kind: "cluster"; nodes: HostAndPort[] }
    | { kind: "sentinel"; name: string; sentinels: HostAndPort[]; db: number }
  );

const noUrl = "REDIS_URL is missing: write redis://host:6379";

export const RedisEnv = z.object({
  REDIS_URL: z.string(noUrl).trim().min(1, noUrl),
  REDIS_CLUSTER_MODE: z.enum(["true", "false", ""], "REDIS_CLUSTER_MODE is true or false").default("false"),
  REDIS_SENTINEL_NAME: z.string().trim().default(""),
});
export type RedisEnv = z.input<typeof RedisEnv>;

const scheme = /^(redis|rediss|redis\+cluster|rediss\+cluster):\/\//i;

/**
 * Read where Redis is.
 *
 * - `redis://[user[:password]@]host[:port][/db]`, or `rediss://` for TLS: one Redis
 * - `redis+cluster://a:6379,b:6379`, or any list with REDIS_CLUSTER_MODE=true: a Redis Cluster
 * - a list of sentinels with REDIS_SENTINEL_NAME: whatever master of that name they point to (port 26379)
 *
 * In a list the scheme stands in the first part; user, password and database may stand in any, and hold for all.
 *
 * @throws Error with one sentence that says what to write; it never repeats the URL, which holds a password
 */
export function parseRedisUrl(env: RedisEnv): RedisTarget {
  const parsed = RedisEnv.safeParse(env);
  if (!parsed.success) throw new Error(parsed.error.issues.map(({ message }) => message).join("\n"));
  const { REDIS_URL, REDIS_CLUSTER_MODE, REDIS_SENTINEL_NAME: name } = parsed.data;
  const [first = "", ...others] = REDIS_URL.split(",").map((part) => part.trim());
  const named = scheme.exec(first)?.[1]?.toLowerCase() ?? "redis";
  const cluster = REDIS_CLUSTER_MODE === "true" || named.endsWith("+cluster");
  if (cluster && name) wrong("set REDIS_CLUSTER_MODE or REDIS_SENTINEL_NAME, not both");
  if (others.length > 0 && !cluster && !name) {
    wrong("a list of hosts needs REDIS_CLUSTER_MODE=true or REDIS_SENTINEL_NAME=<name of the master>");
  }
  const urls = [first, ...others].map(parseNode);
  const nodes = urls.map((url) => hostAndPort(url, name ? 26_379 : 6379));
  const access = accessOf(urls, named.startsWith("rediss"));
  const db = Math.max(...urls.map(databaseOf));
  if (name) return { ...access, kind: "sentinel", name, sentinels: nodes, db };
  if (cluster && db !== 0) wrong("a Redis Cluster has only database 0: leave the path away");
  if (cluster) return { ...access, kind: "cluster", nodes };
  const [node] = nodes;
  if (!node) wrong("write redis://host:6379");
  return { ...access, kind: "single", node, db };
}

function parseNode(part: string): URL {
  const rest = part.replace(scheme, "");
  const url = URL.parse(`redis://${rest}`);
  if (!url?.hostname || rest.includes("://")) {
    wrong("write redis://host:6379, rediss://host:6379 or redis+cluster://host:6379,host:6379");
  }
  if (url.search || url.hash) wrong("leave away what follows '?' or '#': no options are read from the URL");
  return url;
}

function hostAndPort(url: URL, defaultPort: number): HostAndPort {
  return {
    host: url.hostname.replaceAll(/^\[|\]$/g, ""),
    port: url.port === "" ? defaultPort : Number(url.port),
  };
}

function accessOf(urls: URL[], tls: boolean): Access {
  const bearer = urls.find(({ username, password }) => username || password);
  return {
    tls,
    ...(bearer?.username && { username: decoded(bearer.username) }),
    ...(bearer?.password && { password: decoded(bearer.password) }),
  };
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return wrong("a '%' in user or password is written %25");
  }
}

function databaseOf(url: URL): number {
  const path = url.pathname.slice(1);
  if (path === "") return 0;
  if (!/^\d{1,4}$/.test(path))
    wrong("what follows the host is the number of a database, as in redis://host:6379/0");
  return Number(path);
}

function wrong(what: string): never {
  throw new Error(`REDIS_URL cannot be used: ${what}.`);
}

/** What one connection needs beyond the target; the rest is decided here. */
export type ConnectOptions = Pick<
  RedisOptions,
  "connectionName" | "commandTimeout" | "socketTimeout" | "stringNumbers" | "blockingTimeout"
>;

const connectTimeoutMs = 2000;
/** A connection that owes an answer for so long is half open: nothing of ours waits, or blocks, for longer. */
const socketTimeoutMs = 8000;
/** Said by a master that was demoted: behind the same address there may be another by now. */
const isDemoted = ({ message }: Error) => /^(READONLY|MASTERDOWN)/.test(message);
/** At most a second between attempts: a Redis that is back is found within about that. */
const reconnectDelayMs = (attempt: number) => Math.min(50 * 2 ** Math.min(attempt - 1, 5), 1000);

/**
 * Open a client that fails fast and never gives up: while Redis is away every command is rejected at once (no
 * queue that grows, nothing sent twice), and the client itself reconnects for ever. The caller listens to
 * `error`, and ends it with `disconnect()`.
 *
 * `protocol: 2`: under RESP3 ioredis flattens nested replies (XREAD, maps), and callers would see other shapes.
 */
export function connectRedis(target: RedisTarget, options: ConnectOptions = {}): Redis | Cluster {
  const common = {
    socketTimeout: socketTimeoutMs,
    ...options,
    protocol: 2,
    connectTimeout: connectTimeoutMs,
    reconnectOnError: isDemoted,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    ...(target.username !== undefined && { username: target.username }),
    ...(target.password !== undefined && { password: target.password }),
    ...(target.tls && { tls: {} }),
  } satisfies RedisOptions;
  const alone = {
    ...common,
    enableOfflineQueue: false,
    retryStrategy: reconnectDelayMs,
  } satisfies RedisOptions;

  if (target.kind === "single") return new Redis({ ...alone, ...target.node, db: target.db });
  if (target.kind === "sentinel") {
    return new Redis({
      ...alone,
      name: target.name,
      sentinels: target.sentinels,
      db: target.db,
      enableTLSForSentinelMode: target.tls,
      sentinelRetryStrategy: reconnectDelayMs,
    });
  }
  return new Cluster(target.nodes, {
    // Nodes must keep their own short queue: ioredis opens a node's connection with its first command.
    redisOptions: common,
    enableOfflineQueue: false,
    clusterRetryStrategy: reconnectDelayMs,
    // 16 by default, 100 ms apart: a dead cluster would be noticed after 1.6 s.
    maxRedirections: 6,
    // Certificates name hosts, and a cluster that speaks TLS announces hosts: resolving them first breaks both.
    ...(target.tls && { dnsLookup: (address, done) => done(null, address) }),
  });
}

/** Runs the queue's scripts over a client. */
export function scriptCommands(redis: Redis | Cluster): RedisCommands {
  return {
    evalsha: (sha, keys, args) => redis.evalsha(sha, keys.length, ...keys, ...args),
    eval: (script, keys, args) => redis.eval(script, keys.length, ...keys, ...args),
  };
}
