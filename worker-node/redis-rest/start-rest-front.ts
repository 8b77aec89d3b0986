/** Starts and stops the REST front: two connections to Redis and the HTTP server. */
import { once } from "node:events";
import type { Server } from "node:http";
import type { Cluster, Redis } from "ioredis";
import { log } from "../../shared/log.ts";
import { connectRedis } from "../clients/redis.ts";
import type { RestConfig } from "./rest-config.ts";
import { createRestServer } from "./rest-server.ts";
import { Subscriptions } from "./subscriptions.ts";

/** How long the start waits for Redis. */
const FIRST_CONNECT_MS = 2_000;
/** The time in which commands in flight may still be answered. */
const STOP_GRACE_MS = 1_500;
const MAX_BODY_BYTES = 10 * 1024 * 1024;

/** A front that listens on `port`. */
export interface RunningFront {
  port: number;
  /** Responds to the requests in flight, ends the streams, closes the connections; within 1.5 s. */
  stop(): Promise<void>;
}

/**
 * Listens as soon as Redis is reachable, or after 2 s without it. Until Redis is reachable every response is a 503.
 *
 * @throws Error when the port is taken
 */
export async function startRestFront(config: RestConfig): Promise<RunningFront> {
  // A slow Redis has the command and answers it. Only a connection that is gone, or a reply that does not come for a long
  // time, is an error: a caller that gives up earlier closes its request.
  const timeouts = { commandTimeout: config.timeoutMs, socketTimeout: config.timeoutMs + 1_000 };
  const redis = connectRedis(config.target, {
    connectionName: "redis-rest",
    ...timeouts,
    stringNumbers: true,
  });
  const subscriber = connectRedis(config.target, { connectionName: "redis-rest-subscriber", ...timeouts });
  logOutages(redis);
  subscriber.on("error", () => undefined); // the other connection logs the outage of the same Redis
  const disconnect = () => {
    redis.disconnect();
    subscriber.disconnect();
  };
  await Promise.all([waitUntilReady(redis, FIRST_CONNECT_MS), waitUntilReady(subscriber, FIRST_CONNECT_MS)]);

  const subscriptions = new Subscriptions(subscriber);
  const server = createRestServer({
    redis,
    subscriptions,
    token: config.token,
    readOnlyToken: config.readOnlyToken,
    origins: config.origins,
    maxBodyBytes: MAX_BODY_BYTES,
  });
  server.listen(config.port, config.host);
  try {
    await once(server, "listening");
  } catch (error) {
    subscriptions.close();
    disconnect();
    throw error;
  }
  const stop = async () => {
    subscriptions.close();
    await closeServer(server);
    disconnect();
  };
  return { port: listeningPort(server), stop };
}

/** Logs one line when an outage begins and one when it ends, not one for each attempt to connect. */
function logOutages(redis: Redis | Cluster): void {
  let isUnreachable = false;
  redis.on("error", (error: Error) => {
    if (!isUnreachable) log.warn("redis_rest.redis_disconnected", { message: error.message });
    isUnreachable = true;
  });
  redis.on("ready", () => {
    if (isUnreachable) log.info("redis_rest.redis_reconnected");
    isUnreachable = false;
  });
}

async function waitUntilReady(redis: Redis | Cluster, timeoutMs: number): Promise<void> {
  if (redis.status === "ready") return;
  const timeout = AbortSignal.timeout(timeoutMs);
  await new Promise<void>((resolve) => {
    redis.once("ready", resolve);
    timeout.addEventListener("abort", () => resolve(), { once: true });
  });
}

/** Closes each keep-alive connection when it becomes idle, and all connections after the grace period. */
async function closeServer(server: Server): Promise<void> {
  const closed = once(server, "close");
  server.close();
  const closingIdle = setInterval(() => server.closeIdleConnections(), 20);
  const closingAll = setTimeout(() => server.closeAllConnections(), STOP_GRACE_MS);
  await closed;
  clearInterval(closingIdle);
  clearTimeout(closingAll);
}

function listeningPort(server: Server): number {
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the server listens on no port");
  return address.port;
}
