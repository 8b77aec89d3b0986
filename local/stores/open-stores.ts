/** Opens the two stores: those that the environment names, else stores of this stack, which are restarted when they end. */
import { join } from "node:path";
import { migrate } from "../../worker-node/clients/migrations.ts";
import { keepAlive } from "../processes/keep-alive.ts";
import { keptPort } from "../processes/free-ports.ts";
import { startPostgres } from "./postgres.ts";
import type { OwnService } from "../processes/child.ts";
import { startRedisRest } from "./redis-rest.ts";
import { startRedis } from "./redis.ts";
import { seedApiKey } from "../demo/seed.ts";

/** The common facts and functions of all parts of a start. */
export type Start = {
  data: string;
  env: NodeJS.ProcessEnv;
  /** Records a started part for the stop: it ends all programs at once first, and then the stores that they write to. */
  track: <Part extends { stop(): Promise<void> }>(kind: "program" | "store", part: Part) => Part;
  /** Called after the restart of a part. */
  onRestart: () => void;
};

/** `pid()` is null for a store that this stack did not start. */
export type Store = { url: string; pid(): number | null };

/** Opens Postgres, migrates it and saves the platform key. */
export async function openPostgres(start: Start, apiKey: string): Promise<Store> {
  const { data, env } = start;
  const url = env.SCALE_POSTGRES_URL;
  const store = url
    ? externalStore(url)
    : await ownStore(start, "Postgres", startPostgres, join(data, "postgres"));
  await migrate(env.SCALE_POSTGRES_DIRECT_URL || store.url);
  await seedApiKey(store.url, apiKey);
  return store;
}

/** Opens Redis and its REST front. */
export async function openRedis(start: Start, token: string): Promise<[Store, Store]> {
  const { data, env, track, onRestart } = start;
  const url = env.REDIS_URL;
  const redis = url ? externalStore(url) : await ownStore(start, "Redis", startRedis, join(data, "redis"));
  const port = await keptPort(join(data, "redis-rest-port"));
  const rest = await keepAlive(
    "redis-rest",
    (signal) => startRedisRest(redis.url, token, port, signal),
    onRestart,
  );
  track("program", rest);
  return [redis, { url: rest.current().url, pid: () => rest.current().pid }];
}

function externalStore(url: string): Store {
  return { url, pid: () => null };
}

type StartStore = (options: {
  dir: string;
  onlyPort: number | undefined;
  signal: AbortSignal;
}) => Promise<OwnService>;

async function ownStore(
  { track, onRestart }: Start,
  name: string,
  start: StartStore,
  dir: string,
): Promise<Store> {
  let onlyPort: number | undefined; // after the first start: its clients know that port
  const startAgain = async (signal: AbortSignal): Promise<OwnService> => {
    const service = await start({ dir, onlyPort, signal });
    onlyPort = service.port;
    return service;
  };
  const store = track("store", await keepAlive(name, startAgain, onRestart));
  return { url: store.current().url, pid: () => store.current().pid };
}
