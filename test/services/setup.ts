/** One Postgres and one Redis for all tests, started as `npm start` starts them. */
import { chmodSync, existsSync, mkdtempSync, rmSync, statfsSync } from "node:fs";
import { freemem, tmpdir } from "node:os";
import { join } from "node:path";
import type { TestProject } from "vitest/node";
import { projectFolder } from "../../local/processes/programs.ts";
import { startPostgres } from "../../local/stores/postgres.ts";
import { inMemory, startRedis } from "../../local/stores/redis.ts";
import { createTemplate, dropDatabases, type Template } from "./databases.ts";

/**
 * The data of tests has to survive killed processes, and no crash of the machine: the kernel keeps what a process has written.
 * Commits that wait for a disk make tests wait, and a disk that other programs use makes them wait for seconds. Autovacuum would
 * visit each of the hundreds of small databases once a minute.
 */
const forTests = { fsync: "off", full_page_writes: "off", autovacuum: "off" };

declare module "vitest" {
  interface ProvidedContext {
    postgresUrl: string;
    redisUrl: string;
    databaseTemplate: Template;
    /** The folder of the built edge: see `builtEdge`. */
    edgeBuild: string;
    /** The folder of the built workers: see `builtWorker`. */
    workerBuilds: string;
  }
}

/** SYNAPSE_TEST_POSTGRES_URL and SYNAPSE_TEST_REDIS_URL name servers to use instead; the databases made there are dropped at the end. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  // The tests start hundreds of processes of this project. With compiled code in a cache each takes half the processor time.
  process.env.NODE_COMPILE_CACHE ??= join(projectFolder, "node_modules/.cache/node");
  const dir = newFolder(tmpdir());
  const databasesDir = newFolder(databasesFit(inMemoryFolder) ? inMemoryFolder : tmpdir());
  const external = {
    postgres: process.env.SYNAPSE_TEST_POSTGRES_URL,
    redis: process.env.SYNAPSE_TEST_REDIS_URL,
  };
  const [postgres, redis] = await Promise.all([
    external.postgres ? null : startPostgres({ dir: databasesDir, settings: forTests }),
    external.redis ? null : startRedis({ dir: join(dir, "redis"), args: inMemory }),
  ]);
  const postgresUrl = external.postgres ?? postgres?.url ?? "";
  const databaseTemplate = await createTemplate(postgresUrl);
  project.provide("postgresUrl", postgresUrl);
  project.provide("redisUrl", external.redis ?? redis?.url ?? "");
  project.provide("databaseTemplate", databaseTemplate);
  project.provide("edgeBuild", join(dir, "edge"));
  project.provide("workerBuilds", join(dir, "workers"));

  return async () => {
    // Each drop waits for a checkpoint: a server that ends with this run is removed as a whole.
    if (external.postgres) await dropDatabases(postgresUrl, databaseTemplate);
    await Promise.all([postgres?.stop(), redis?.stop()]);
    for (const folder of [dir, databasesDir]) rmSync(folder, { recursive: true, force: true });
  };
}

/**
 * The databases of a run are in memory where they fit. A copy of the template is about 900 files, and takes 40 ms of processor time there.
 * In a file system on a disk it takes 300 ms, and the hundreds of copies took a sixth of the processor time of all tests.
 */
const inMemoryFolder = "/dev/shm";
/** More than all databases of a run take. They use memory that the processes of the tests need too. */
const DATABASES_BYTES = 8 * 2 ** 30;

function databasesFit(folder: string): boolean {
  if (!existsSync(folder)) return false;
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize > DATABASES_BYTES && freemem() > 1.5 * DATABASES_BYTES;
}

function newFolder(parent: string): string {
  const folder = mkdtempSync(join(parent, "synapse-test-"));
  chmodSync(folder, 0o711); // under root another user runs Postgres, and must be able to enter this folder
  return folder;
}
