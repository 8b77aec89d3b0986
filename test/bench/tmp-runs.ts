import { chmodSync, mkdtempSync } from "node:fs";
import { once } from "node:events";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import postgres from "postgres";
import { startPostgres } from "../../local/stores/postgres.ts";
import { inMemory, startRedis } from "../../local/stores/redis.ts";
import { Queue } from "../../shared/queue/queue.ts";
import { connectionOptions } from "../../shared/store/sql.ts";
import { migrate } from "../../worker-node/clients/migrations.ts";
import { scriptCommands } from "../../worker-node/clients/redis.ts";
import { portOf } from "../../worker-node/ops/health-server.ts";
import { spawnWorker } from "../services/worker-process.ts";
import { deployedWorker } from "./deployed-worker.ts";
import { cpuMs } from "./cpu.ts";
import { makeDefinitions } from "./definition.ts";
import { accept, enqueue, countEnded, untilEnded } from "./runs.ts";

const dir = mkdtempSync(join(tmpdir(), "synapse-bench-"));
chmodSync(dir, 0o711);
const postgresService = await startPostgres({ dir: join(dir, "postgres") });
const redisService = await startRedis({ dir: join(dir, "redis"), args: inMemory });
const sql = postgres(postgresService.url, { ...connectionOptions, max: 4 });
const redis = new Redis(redisService.url, { protocol: 2 });
await migrate(postgresService.url);
const queue = new Queue(scriptCommands(redis), 1);
const tool = createServer((_, response) => response.end("{}")).listen(0, "127.0.0.1");
await once(tool, "listening");
await makeDefinitions(sql, `http://127.0.0.1:${portOf(tool)}/`);
const prof = process.env["PROF"];
const args = await deployedWorker();
const worker = spawnWorker(
  "bench",
  {
    REDIS_URL: redisService.url,
    SCALE_POSTGRES_URL: postgresService.url,
    WORKER_CONCURRENCY: "100",
    WORKER_HEALTH_PORT: "0",
    EVENT_SHARDS: "1",
    EGRESS_ALLOW: "127.0.0.1",
    SHORT_EVENT_LINES: "2",
  },
  prof ? [`--cpu-prof`, `--cpu-prof-dir=${prof}`, ...args] : args,
);
await worker.untilLogged("worker.ready");
let ended = await countEnded(sql);
for (const n of [500, 2000, 2000]) {
  const many = await accept(sql, n, "orch_tools");
  const c = cpuMs(worker.pid);
  const pg = postgresService.pid ? cpuMs(postgresService.pid) : 0;
  const t = performance.now();
  await enqueue(queue, many);
  await untilEnded(sql, (ended += n));
  const s = (performance.now() - t) / 1000;
  console.log(
    n,
    "runs",
    (n / s).toFixed(0),
    "runs/s",
    (((cpuMs(worker.pid) - c) * 1000) / (n * 5)).toFixed(0),
    "us/step",
  );
}
await worker.stop("SIGTERM");
redis.disconnect();
await sql.end({ timeout: 1 });
await Promise.all([postgresService.stop(), redisService.stop()]);
process.exit();
