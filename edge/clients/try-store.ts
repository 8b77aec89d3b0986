import { Redis } from "ioredis";
import postgres from "postgres";
import { connectionOptions } from "../../shared/store/sql.ts";

/** The time limit of a test, in all. */
const TRY_MS = 4_000;

/** Connects to a Redis and sends PING. @throws Error when it does not reply in time, or refuses */
export async function tryRedis(url: string): Promise<void> {
  const redis = new Redis(url, {
    protocol: 2,
    lazyConnect: true,
    connectTimeout: TRY_MS,
    commandTimeout: TRY_MS,
    enableReadyCheck: false,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    retryStrategy: () => null,
  });
  // The rejection of `connect` says only that the connection is closed. This event says why.
  let why: Error | undefined;
  redis.on("error", (error) => (why ??= error));
  try {
    await redis.connect();
    await redis.ping();
  } catch (error) {
    throw why ?? error;
  } finally {
    redis.disconnect();
  }
}

/** Connects to a Postgres and sends a statement. @throws Error when it does not reply in time, or refuses */
export async function tryPostgres(url: string): Promise<void> {
  const sql = postgres(url, { ...connectionOptions, max: 1, prepare: false });
  // The driver itself has no limit: it connects again and again to a server that closes its connections cleanly.
  const timer = setTimeout(() => void sql.end({ timeout: 0 }), TRY_MS);
  try {
    await sql`select 1`;
  } finally {
    clearTimeout(timer);
    await sql.end({ timeout: 0 });
  }
}
