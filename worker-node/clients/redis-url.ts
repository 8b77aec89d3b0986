/**
 * Reads from REDIS_URL where Redis is, for every process that speaks TCP to it. One Redis, a Redis Cluster and a Redis
 * behind Sentinel are three values of one type, RedisTarget, so that only `connectRedis` has to know which of them it is.
 */
import { z } from "zod";
import { percentDecoded } from "../../shared/http/percent-decoded.ts";

interface HostAndPort {
  host: string;
  port: number;
}

/** The account and the encryption: the same for every node of a cluster. */
interface Access {
  username?: string;
  password?: string;
  tls: boolean;
}

/** Where Redis is, and how to log in. */
export type RedisTarget = Access &
  (
    | { kind: "single"; node: HostAndPort; db: number }
    | { kind: "cluster"; nodes: HostAndPort[] }
    | { kind: "sentinel"; name: string; sentinels: HostAndPort[]; db: number }
  );

const MISSING = "REDIS_URL is missing: write redis://host:6379";

/** The variables that say where Redis is. */
export const RedisEnv = z.object({
  REDIS_URL: z.string(MISSING).trim().min(1, MISSING),
  REDIS_CLUSTER_MODE: z.enum(["true", "false", ""], "REDIS_CLUSTER_MODE is true or false").default("false"),
  REDIS_SENTINEL_NAME: z.string().trim().default(""),
});
/** The variables before they are parsed. */
export type RedisEnv = z.input<typeof RedisEnv>;

const scheme = /^(redis|rediss|redis\+cluster|rediss\+cluster):\/\//i;

/**
 * Reads where Redis is.
 *
 * - `redis://[user[:password]@]host[:port][/db]`, or `rediss://` for TLS: one Redis
 * - `redis+cluster://a:6379,b:6379`, or any list with REDIS_CLUSTER_MODE=true: a Redis Cluster
 * - a list of sentinels with REDIS_SENTINEL_NAME: the master of that name (port 26379)
 *
 * In a list the scheme stands in the first part. User, password and database may stand in any part, and hold for all.
 *
 * @throws Error with one sentence that says what to write; it never repeats the URL, which may hold a password
 */
export function parseRedisUrl(env: RedisEnv): RedisTarget {
  const parsed = RedisEnv.safeParse(env);
  if (!parsed.success) throw new Error(parsed.error.issues.map(({ message }) => message).join("\n"));
  const { REDIS_URL, REDIS_CLUSTER_MODE, REDIS_SENTINEL_NAME: name } = parsed.data;
  const [first = "", ...rest] = REDIS_URL.split(",").map((part) => part.trim());
  const schemeName = scheme.exec(first)?.[1]?.toLowerCase() ?? "redis";
  const cluster = REDIS_CLUSTER_MODE === "true" || schemeName.endsWith("+cluster");
  if (cluster && name) reject("set REDIS_CLUSTER_MODE or REDIS_SENTINEL_NAME, not both");
  if (rest.length > 0 && !cluster && !name) {
    reject("a list of hosts needs REDIS_CLUSTER_MODE=true or REDIS_SENTINEL_NAME=<name of the master>");
  }
  const urls = [first, ...rest].map(parseNode);
  const nodes = urls.map((url) => hostAndPort(url, name ? 26_379 : 6379));
  const access = accessOf(urls, schemeName.startsWith("rediss"));
  const db = Math.max(...urls.map(databaseOf));
  if (name) return { ...access, kind: "sentinel", name, sentinels: nodes, db };
  if (cluster && db !== 0) reject("a Redis Cluster has only database 0: leave the path away");
  if (cluster) return { ...access, kind: "cluster", nodes };
  const [node] = nodes;
  if (!node) reject("write redis://host:6379");
  return { ...access, kind: "single", node, db };
}

function parseNode(part: string): URL {
  const rest = part.replace(scheme, "");
  const url = URL.parse(`redis://${rest}`);
  if (!url?.hostname || rest.includes("://")) {
    reject("write redis://host:6379, rediss://host:6379 or redis+cluster://host:6379,host:6379");
  }
  if (url.search || url.hash) reject("leave out what follows '?' or '#': no options are read from the URL");
  return url;
}

function hostAndPort(url: URL, defaultPort: number): HostAndPort {
  return {
    host: url.hostname.replaceAll(/^\[|\]$/g, ""),
    port: url.port === "" ? defaultPort : Number(url.port),
  };
}

function accessOf(urls: URL[], tls: boolean): Access {
  const withAccount = urls.find(({ username, password }) => username || password);
  return {
    tls,
    ...(withAccount?.username && { username: decoded(withAccount.username) }),
    ...(withAccount?.password && { password: decoded(withAccount.password) }),
  };
}

function decoded(part: string): string {
  return percentDecoded(part) ?? reject("a '%' in user or password is written %25");
}

function databaseOf(url: URL): number {
  const path = url.pathname.slice(1);
  if (path === "") return 0;
  if (!/^\d{1,4}$/.test(path))
    reject("what follows the host is the number of a database, as in redis://host:6379/0");
  return Number(path);
}

function reject(reason: string): never {
  throw new Error(`REDIS_URL cannot be used: ${reason}.`);
}
