/** A Redis of this stack. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { Redis } from "ioredis";
import { readPid } from "../processes/pids.ts";
import { choosePort } from "../processes/free-ports.ts";
import { runningChild, startProcess, stopOrphan, untilReady, type OwnService } from "../processes/child.ts";
import { findRedis } from "./redis-binary.ts";

/** A crash loses at most the writes of the last second. */
const appendOnly = ["--appendonly", "yes", "--appendfsync", "everysec"];
/** Nothing is written to disk: for tests. */
export const inMemory = ["--appendonly", "no"];

/**
 * Starts a Redis of version 7 or newer.
 *
 * `dir` holds its log, its data, its pid and the port of the last start. It never evicts: a queue that loses jobs
 * is worse than one that refuses them.
 * @param port the wanted port; another is taken when it is not free. Absent: the port of the last start.
 * @param onlyPort for a restart, whose clients know the port: the start fails when this port is not free
 * @param args replace the flags that keep data on disk
 * @param signal ends a start that is under way
 * @throws Error with commands that install Redis when there is none, or with the end of the log when it does not
 * start
 */
export async function startRedis(options: {
  dir: string;
  port?: number;
  onlyPort?: number | undefined;
  args?: string[];
  signal?: AbortSignal;
}): Promise<OwnService> {
  const dir = resolve(options.dir);
  const pidFile = join(dir, "redis.pid");
  mkdirSync(dir, { recursive: true });
  const binary = await findRedis(dir);
  const orphan = readPid(pidFile);
  if (orphan !== null) await stopOrphan(orphan, "SIGTERM", (command) => /redis|valkey/.test(command));

  const port = options.onlyPort ?? (await choosePort(join(dir, "port"), options.port));
  const { command, args, env } = binary.at(port);
  // Without `--hz`: Redis sees the end of a blocking wait, and its own end, no more often than that. With 2 instead of 10 it takes 0.75 ms
  // of processor time a second less, and a worker's wait for the next due run ends up to 500 ms late.
  const policy = ["--maxmemory-policy", "noeviction", "--save", "", ...(options.args ?? appendOnly)];
  const log = join(dir, "redis.log");
  const child = startProcess(
    { command, args: [...args, ...policy], env: { ...process.env, ...env } },
    log,
    "SIGTERM",
  );
  writeFileSync(pidFile, `${child.pid}\n`);
  await untilReady(child, log, () => ping(port), options.signal);
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    ...runningChild(child, "SIGTERM"),
  };
}

async function ping(port: number): Promise<void> {
  const redis = new Redis({
    host: "127.0.0.1",
    port,
    lazyConnect: true,
    retryStrategy: () => null,
    connectTimeout: 1_000,
    maxRetriesPerRequest: 0,
  });
  redis.on("error", () => {}); // the same error also rejects connect()
  try {
    await redis.connect();
    await redis.ping();
  } finally {
    redis.disconnect();
  }
}
