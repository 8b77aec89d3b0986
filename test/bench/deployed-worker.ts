import { buildPrograms } from "../../local/programs/build.ts";
import { builtProgram } from "../../local/processes/programs.ts";
import { spawnWorker, type WorkerProcess } from "../services/worker-process.ts";

/**
 * Starts a worker for a hundred runs at once as `npm start` and the image do: the bundle, with its flags of Node. It
 * takes another time for a step than the sources with Node's own young generation, and starts in less than half of theirs.
 *
 * @param changes variables beside those of the stores, or in their place
 */
export async function spawnDeployedWorker(
  id: string,
  stores: { redisUrl: string; postgresUrl: string },
  changes: Record<string, string> = {},
): Promise<WorkerProcess> {
  await buildPrograms();
  const env = {
    REDIS_URL: stores.redisUrl,
    SCALE_POSTGRES_URL: stores.postgresUrl,
    WORKER_CONCURRENCY: "100",
    WORKER_HEALTH_PORT: "0",
    EVENT_SHARDS: "1",
  };
  return spawnWorker(id, { ...env, ...changes }, builtProgram("worker-node/main.ts").args);
}

/** The variables of a worker whose tools are on this machine. Event lines are short, as with `npm start`. */
export const LOCAL_TOOLS = { EGRESS_ALLOW: "127.0.0.1", SHORT_EVENT_LINES: "2" };
