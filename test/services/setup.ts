/** One Postgres and one Redis for all tests, started as `npm start` starts them. */
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestProject } from "vitest/node";
import { projectFolder } from "../../local/processes/programs.ts";
import { startPostgres } from "../../local/stores/postgres.ts";
import { inMemory, startRedis } from "../../local/stores/redis.ts";
import { databasesFolder, ownFolder, postgresSettings } from "./databases-folder.ts";
import { createTemplate, dropDatabases, type Template } from "./databases.ts";

declare module "vitest" {
  interface ProvidedContext {
    postgresUrl: string;
    redisUrl: string;
    databaseTemplate: Template;
    /** A folder for files of tests, which is removed with the end of this run. */
    ownFolder: string;
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
  const { folder: dir, remove } = ownFolder(tmpdir());
  const databases = databasesFolder();
  const external = {
    postgres: process.env.SYNAPSE_TEST_POSTGRES_URL,
    redis: process.env.SYNAPSE_TEST_REDIS_URL,
  };
  const [postgres, redis] = await Promise.all([
    external.postgres ? null : startPostgres({ dir: databases.folder, settings: postgresSettings }),
    external.redis ? null : startRedis({ dir: join(dir, "redis"), args: inMemory }),
  ]);
  const postgresUrl = external.postgres ?? postgres?.url ?? "";
  const databaseTemplate = await createTemplate(postgresUrl);
  project.provide("postgresUrl", postgresUrl);
  project.provide("redisUrl", external.redis ?? redis?.url ?? "");
  project.provide("databaseTemplate", databaseTemplate);
  project.provide("ownFolder", dir);
  project.provide("edgeBuild", join(dir, "edge"));
  project.provide("workerBuilds", join(dir, "workers"));

  return async () => {
    // Each drop waits for a checkpoint: a server that ends with this run is removed as a whole.
    if (external.postgres) await dropDatabases(postgresUrl, databaseTemplate);
    await Promise.all([postgres?.stop(), redis?.stop()]);
    remove();
    databases.remove();
  };
}
