/** The edge as `npm start` runs it (workerd, a socket of its own), with its REST front, on the bench's stores. */
import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { buildEdge } from "../../local/edge/build.ts";
import { startEdgeProcess } from "../../local/edge/process.ts";
import { freePort } from "../../local/processes/free-ports.ts";
import { buildPrograms } from "../../local/programs/build.ts";
import { startRedisRest } from "../../local/stores/redis-rest.ts";
import type { Service } from "../../local/processes/child.ts";
import { Scope } from "../../shared/contracts/tenant.ts";
import type { Queue } from "../../shared/queue/queue.ts";
import { newApiKey, saveApiKey } from "../../shared/store/tenants/api-keys.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { makeQuotaReady } from "../shared/queue/rebuild-shard.ts";
import { cpuMs, treeCpuMs } from "./cpu.ts";
import { TENANT } from "./definition.ts";
import type { Watched } from "./cpu.ts";

export type BenchEdge = {
  port: number;
  key: string;
  /** The process that runs the Worker and its objects. */
  workerd: number;
  watched: Watched;
  queue: Queue;
  stop(): Promise<void>;
};

/** @param name the folder of the edge's data. Edges of one `dir` share a build */
export async function startBenchEdge(
  dir: string,
  name: string,
  {
    sql,
    queue,
    postgres,
    redisService: redis,
  }: { sql: Sql; queue: Queue; postgres: Service; redisService: Service },
): Promise<BenchEdge> {
  const build = join(dir, "build");
  mkdirSync(build, { recursive: true });
  const edgeBuild = await buildEdge(build);
  // A worker does this when it finds the queue cold.
  await makeQuotaReady(queue, 0, Date.now());
  const key = newApiKey();
  await saveApiKey(sql, key, { tenant: TENANT, name: "bench", scopes: Scope.options });

  const token = randomBytes(16).toString("hex");
  await buildPrograms();
  const rest = await startRedisRest(redis.url, token, await freePort(0));
  const port = await freePort(0);
  const edges = await startEdgeProcess(edgeBuild, {
    data: join(dir, name),
    ports: [port],
    s3Port: await freePort(0),
    s3: { accessKeyId: "bench", secretAccessKey: "bench" },
    postgresUrl: postgres.url,
    vars: {
      UPSTASH_REDIS_REST_URL: rest.url,
      UPSTASH_REDIS_REST_TOKEN: token,
      REDIS_URL: redis.url,
      STREAM_TOKEN_SECRET: "the bench's secret for stream tokens",
    },
  });
  const workerd = edges.pid ?? 0;
  return {
    port,
    key,
    workerd,
    queue,
    watched: {
      workerd: () => cpuMs(workerd),
      "redis-rest": () => cpuMs(rest.pid ?? 0),
      Postgres: () => treeCpuMs(postgres.pid ?? 0),
      Redis: () => treeCpuMs(redis.pid ?? 0),
      "this bench": () => cpuMs(process.pid),
    },
    async stop() {
      await edges.stop();
      await rest.stop();
    },
  };
}
