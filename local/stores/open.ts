/** The two stores: those that the environment names, else our own, which come back when they die. */
import { join } from "node:path";
import { migrate } from "../../worker-node/cli/migrate.ts";
import { keepAlive } from "../processes/keep-alive.ts";
import { keptPort } from "../processes/ports.ts";
import { startPostgres } from "./postgres.ts";
import type { OwnService } from "../processes/child.ts";
import { startRedisRest } from "./redis-rest.ts";
import { startRedis } from "./redis.ts";
import { seedApiKey } from "../demo/seed.ts";

/** What the parts of a start have in common. */
export type Start = {
  data: string;
  env: NodeJS.ProcessEnv;
  /** Remembers a part that has started: programs are stopped first, all at once, then the stores they write to. */
  keep: <Part extends { stop(): Promise<void> }>(kind: "program" | "store", part: Part) => Part;
  /** Called when a part has come back. */
  changed: () => void;
};

/** `pid()` is null when somebody else runs it. */
export type Store = { url: string; pid(): number | null };

/** A migrated Postgres that knows the key: that of the environment, else our own. */
export async function openPostgres(start: Start, apiKey: string): Promise<Store> {
  const { data, env } = start;
  const url = env.SCALE_POSTGRES_URL;
  const store = url ? given(url) : await own(start, "Postgres", startPostgres, join(data, "postgres"));
  await migrate(env.SCALE_POSTGRES_DIRECT_URL ?? store.url);
  await seedApiKey(store.url, apiKey);
  return store;
}

/** Redis (that of the environment, else our own) and its REST front. */
export async function openRedis(start: Start, token: string): Promise<[Store, Store]> {
  const { data, env, keep, changed } = start;
  const url = env.REDIS_URL;
  const redis = url ? given(url) : await own(start, "Redis", startRedis, join(data, "redis"));
  const port = await keptPort(join(data, "redis-rest-port"));
  const rest = await keepAlive(
    "redis-rest",
    (signal) => startRedisRest(redis.url, token, port, signal),
    changed,
  );
  keep("program", rest);
  return [redis, { url: rest.now().url, pid: () => rest.now().pid }];
}

function given(url: string): Store {
  return { url, pid: () => null };
}

type StartStore = (options: {
  dir: string;
  onlyPort: number | undefined;
  signal: AbortSignal;
}) => Promise<OwnService>;

async function own({ keep, changed }: Start, name: string, start: StartStore, dir: string): Promise<Store> {
  let onlyPort: number | undefined; // everybody has been told the first one
  const begin = async (signal: AbortSignal): Promise<OwnService> => {
    const service = await start({ dir, onlyPort, signal });
    onlyPort = service.port;
    return service;
  };
  const store = keep("store", await keepAlive(name, begin, changed));
  return { url: store.now().url, pid: () => store.now().pid };
}
