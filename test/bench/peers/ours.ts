/** This project, as `npm run bench` starts it: the edge in workerd with its REST front, and one worker with a concurrency of 100. */
import { Redis } from "ioredis";
import postgres from "postgres";
import { z } from "zod";
import { Queue } from "../../../shared/queue/queue.ts";
import { connectionOptions } from "../../../shared/store/sql.ts";
import type { Sql } from "../../../shared/store/sql.ts";
import { QUOTA_READY_AFTER_MS } from "../../../shared/timing.ts";
import { migrate } from "../../../worker-node/clients/migrations.ts";
import { scriptCommands } from "../../../worker-node/clients/redis.ts";
import { LOCAL_TOOLS, spawnDeployedWorker } from "../deployed-worker.ts";
import type { WorkerProcess } from "../../services/worker-process.ts";
import { makeQuotaReady } from "../../shared/queue/rebuild-shard.ts";
import { makeDefinitions } from "../definition.ts";
import { startBenchEdge } from "../edge.ts";
import { runRequest } from "../requests.ts";
import { HttpClient } from "./http-client.ts";
import { LiveWatch } from "./live-watch.ts";
import { stepKey } from "./peer.ts";
import type { Executions, Kind, Participant } from "./peer.ts";

const ORCHESTRATIONS = { one: "orch_one", five: "orch_tools" } as const;
const Accepted = z.object({ run_id: z.string() });

export const ours: Participant = {
  name: "ours",
  version: "",
  async start({ place, called, postgres: postgresService, redis: redisService }) {
    await migrate(place.postgresUrl);
    const sql = postgres(place.postgresUrl, { ...connectionOptions, max: 4 });
    const redis = new Redis(place.redisUrl, { protocol: 2 });
    const queue = new Queue(scriptCommands(redis), 1);
    await makeDefinitions(sql, place.toolUrl);
    const stores = { sql, queue, postgres: postgresService, redisService };
    const disconnect = async (): Promise<void> => {
      redis.disconnect();
      await sql.end({ timeout: 1 });
    };
    const edge = await startBenchEdge(place.dir, "edge", stores).catch(async (error: unknown) => {
      await disconnect();
      throw error;
    });
    const client = new HttpClient(edge.port);
    const requests = {
      one: runRequest(edge.key, ORCHESTRATIONS.one),
      five: runRequest(edge.key, ORCHESTRATIONS.five),
    };
    const submit = async (kind: Kind): Promise<string> =>
      Accepted.parse(JSON.parse(await client.send(requests[kind], 202))).run_id;
    const first = await submit("one");
    // A new intake object makes the index count anew. Here the index becomes quota ready, as by the reconciler's next scans.
    await makeQuotaReady(queue, 0, Date.now() + QUOTA_READY_AFTER_MS);

    const live = new LiveWatch(place.redisUrl);
    let worker: WorkerProcess | null = null;
    const close = async (): Promise<void> => {
      await worker?.stop("SIGTERM");
      worker = null;
    };
    return {
      submit,
      async open() {
        worker = await spawnDeployedWorker("bench", place, LOCAL_TOOLS);
        await worker.untilLogged("worker.ready");
      },
      close,
      async countEnded() {
        const [row] = await sql<{ n: number }[]>`
          select count(*)::int as n from runs where ended_at is not null and run_id <> ${first}`;
        return row?.n ?? 0;
      },
      watch: () => live.start(),
      timesOf: (run) => live.timesOf(run),
      executions: async (kind) => {
        const stored = await storedSteps(sql, kind);
        return kind === "one" ? [stored] : [stored, called];
      },
      async stop() {
        await close();
        await live.stop();
        client.close();
        await edge.stop();
        await disconnect();
      },
    };
  },
};

/** The results of steps in the journals of runs that completed. The entry that ends a run has the result of its last step. */
async function storedSteps(sql: Sql, kind: Kind): Promise<Executions> {
  const rows = await sql<{ run_id: string; step_path: string; n: number }[]>`
    select run_id, step_path, count(*)::int as n
    from journal join runs using (run_id)
    where step_path is not null and kind in ('step', 'end') and status = 'completed'
      and orchestration_id = ${ORCHESTRATIONS[kind]}
    group by run_id, step_path`;
  return new Map(rows.map(({ run_id, step_path, n }) => [stepKey(run_id, Number(step_path.slice(1))), n]));
}
