/** The two stores: those that the environment names, else our own. */
import { join } from "node:path";
import { migrate } from "../worker-node/migrate.ts";
import { keptPort } from "./ports.ts";
import { startPostgres } from "./postgres.ts";
import { givenService, type Service } from "./processes.ts";
import { startRedisRest } from "./redis-rest.ts";
import { startRedis } from "./redis.ts";
import { seedApiKey } from "./seed.ts";

/** Remembers a part that has started: programs are stopped first, all at once, then the stores they write to. */
export type Keep = <Part extends { stop(): Promise<void> }>(kind: "program" | "store", part: Part) => Part;

/** A migrated Postgres that knows the key: that of the environment, else our own. */
export async function openPostgres(
  data: string,
  env: NodeJS.ProcessEnv,
  apiKey: string,
  keep: Keep,
): Promise<Service> {
  const url = env.SCALE_POSTGRES_URL;
  const postgres = keep(
    "store",
    url ? givenService(url) : await startPostgres({ dir: join(data, "postgres") }),
  );
  await migrate(env.SCALE_POSTGRES_DIRECT_URL ?? postgres.url);
  await seedApiKey(postgres.url, apiKey);
  return postgres;
}

/** Redis (that of the environment, else our own) and its REST front. */
export async function openRedis(
  data: string,
  env: NodeJS.ProcessEnv,
  token: string,
  keep: Keep,
): Promise<[Service, Service]> {
  const url = env.REDIS_URL;
  const redis = keep("store", url ? givenService(url) : await startRedis({ dir: join(data, "redis") }));
  const rest = keep(
    "program",
    await startRedisRest(redis.url, token, await keptPort(join(data, "redis-rest-port"))),
  );
  return [redis, rest];
}
