/** A running front: its two connections to Redis and its server, started and stopped together. */
import { once } from "node:events";
import type { Server } from "node:http";
import type { Cluster, Redis } from "ioredis";
import { connectRedis } from "../clients/redis.ts";
import type { RestConfig } from "./rest-config.ts";
import { createRestServer, type Log } from "./rest-server.ts";
import { Subscriptions } from "./subscriptions.ts";

/** Under a second, so that a caller hears of a Redis that does not answer within one. */
const commandTimeoutMs = 900;
const firstConnectMs = 2000;
/** A command is answered or given up sooner; what is left then is a slow body, or a connection never used. */
const stopGraceMs = 1500;
const maxBodyBytes = 10 * 1024 * 1024;

export interface RunningFront {
  port: number;
  /** Answer what is in flight, end the streams, close the connections; at most 1.5 s. */
  stop(): Promise<void>;
}

/**
 * Listen as soon as Redis is there, and after 2 s without it: then every answer is a 503 until it comes.
 *
 * @throws Error when the port is taken
 */
export async function startRestFront(config: RestConfig, log: Log): Promise<RunningFront> {
  const redis = connectRedis(config.target, {
    connectionName: "redis-rest",
    commandTimeout: commandTimeoutMs,
    stringNumbers: true,
  });
  const subscriber = connectRedis(config.target, {
    connectionName: "redis-rest-subscriber",
    commandTimeout: commandTimeoutMs,
  });
  logConnection(redis, log);
  subscriber.on("error", () => undefined); // the same Redis: the other connection tells of it
  const disconnect = () => {
    redis.disconnect();
    subscriber.disconnect();
  };
  await Promise.all([readyWithin(redis, firstConnectMs), readyWithin(subscriber, firstConnectMs)]);

  const subscriptions = new Subscriptions(subscriber);
  const server = createRestServer({ redis, subscriptions, token: config.token, maxBodyBytes, log });
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

/** One line when Redis goes and one when it is back, not one per attempt. */
function logConnection(redis: Redis | Cluster, log: Log): void {
  let away = false;
  redis.on("error", (error: Error) => {
    if (!away) log("redis_away", { reason: error.message });
    away = true;
  });
  redis.on("ready", () => {
    if (away) log("redis_back");
    away = false;
  });
}

async function readyWithin(redis: Redis | Cluster, timeoutMs: number): Promise<void> {
  if (redis.status === "ready") return;
  const timeout = AbortSignal.timeout(timeoutMs);
  await new Promise<void>((resolve) => {
    redis.once("ready", resolve);
    timeout.addEventListener("abort", () => resolve(), { once: true });
  });
}

/** Connections that are kept alive become idle one after another: each is closed when it does. */
async function closeServer(server: Server): Promise<void> {
  const closed = once(server, "close");
  server.close();
  const idle = setInterval(() => server.closeIdleConnections(), 20);
  const late = setTimeout(() => server.closeAllConnections(), stopGraceMs);
  await closed;
  clearInterval(idle);
  clearTimeout(late);
}

function listeningPort(server: Server): number {
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the server listens on no port");
  return address.port;
}
