/**
 * `npm run bench:growth`: what a claim costs with short and long queues and with few and many tenants, at the queue alone; and the runs per
 * second of 1, 2 and 4 workers, with the processor time of each part, which says what is full.
 */
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
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
import { job, limits } from "../shared/queue/fixture.ts";
import { makeQuotaReady } from "../shared/queue/rebuild-shard.ts";
import { cpuMs, treeCpuMs, withCpu } from "./cpu.ts";
import { STEPS, makeDefinitions } from "./definition.ts";
import { LOCAL_TOOLS, spawnDeployedWorker } from "./deployed-worker.ts";
import { accept, countEnded, enqueue, untilEnded } from "./runs.ts";

const PART = 1_000;
/** Jobs of one claim, of which each ends with the next claim, while another one is enqueued in its place. */
const CLAIMED = 100;
const ROUNDS = 200;
const QUEUED = [100, 100_000, 1_000_000];
const TENANTS = [1, 100, 10_000];
const WORKERS = [1, 2, 4];
const RUNS = 4_000;

const dir = mkdtempSync(join(tmpdir(), "synapse-growth-"));
chmodSync(dir, 0o711);
const postgresService = await startPostgres({ dir: join(dir, "postgres") });
const redisService = await startRedis({ dir: join(dir, "redis"), args: inMemory });
const sql = postgres(postgresService.url, { ...connectionOptions, max: 4 });
const redis = new Redis(redisService.url, { protocol: 2 });
const queue = new Queue(scriptCommands(redis), 1);
let nextJob = 0;
try {
  for (const queued of QUEUED) await benchClaims(queued, 1);
  for (const tenants of TENANTS) await benchClaims(100_000, tenants);
  await migrate(postgresService.url);
  await redis.flushall();
  await makeQuotaReady(queue, 0, Date.now());
  await makeDefinitions(sql, "http://127.0.0.1:9/");
  for (const workers of WORKERS) await benchWorkers(workers);
} finally {
  redis.disconnect();
  await sql.end({ timeout: 1 });
  await Promise.all([postgresService.stop(), redisService.stop()]);
  rmSync(dir, { recursive: true, force: true });
}

/** The rate of claims, and what Redis takes for a job, while so many jobs of so many tenants are queued. */
async function benchClaims(queued: number, tenants: number): Promise<void> {
  await redis.flushall();
  await makeQuotaReady(queue, 0, Date.now());
  const most = { maxConcurrentRuns: 1_000_000, maxQueuedRuns: 1_000_000 };
  const names = Array.from({ length: tenants }, (_, n) => `tenant-${n}`);
  for (let at = 0; at < tenants; at += PART)
    await queue.pushLimits(names.slice(at, at + PART).map((name) => limits(name, most)));
  const add = (count: number) =>
    queue.enqueue(
      Array.from({ length: count }, () => job((nextJob += 1), names[nextJob % tenants] ?? "tenant-0")),
    );
  for (let n = 0; n < queued; n += PART) await add(Math.min(PART, queued - n));
  let ended: Awaited<ReturnType<Queue["claim"]>>["runs"] = [];
  let [claimed, claimMs, redisMs] = [0, 0, 0];
  for (let round = 0; round < ROUNDS; round++) {
    const [startedMs, beforeMs] = [performance.now(), await redisCpuMs()];
    const { runs } = await queue.claim({
      shard: 0,
      owner: "bench",
      leaseMs: 600_000,
      slots: CLAIMED,
      lanes: { default: CLAIMED },
      ended: ended.map(({ run }) => run),
    });
    claimMs += performance.now() - startedMs;
    redisMs += (await redisCpuMs()) - beforeMs;
    claimed += runs.length;
    ended = runs;
    await add(runs.length);
  }
  const perJobUs = ((redisMs * 1_000) / claimed).toFixed(1);
  console.log(
    `${queued} queued of ${tenants} tenants: ${Math.round((claimed * 1_000) / claimMs)} claims/s, ${perJobUs} us of Redis each`,
  );
}

/** The processor time of Redis in milliseconds, in finer steps than the clock ticks of the kernel. */
async function redisCpuMs(): Promise<number> {
  const info = await redis.info("cpu");
  const seconds = (part: string) =>
    Number(new RegExp(`^used_cpu_${part}_main_thread:(\\S+)`, "m").exec(info)?.[1]);
  return (seconds("user") + seconds("sys")) * 1_000;
}

async function benchWorkers(count: number): Promise<void> {
  const urls = { redisUrl: redisService.url, postgresUrl: postgresService.url };
  const workers = await Promise.all(
    Array.from({ length: count }, (_, n) => spawnDeployedWorker(`growth-${count}-${n}`, urls, LOCAL_TOOLS)),
  );
  try {
    await Promise.all(workers.map((worker) => worker.untilLogged("worker.ready")));
    await runAll(400 * count);
    const watched = {
      workers: () => workers.reduce((sum, { pid }) => sum + cpuMs(pid), 0),
      Postgres: () => treeCpuMs(postgresService.pid ?? 0),
      Redis: () => cpuMs(redisService.pid ?? 0),
    };
    const startedMs = performance.now();
    const { usedMs } = await withCpu(watched, () => runAll(RUNS));
    const ms = performance.now() - startedMs;
    const shares = Array.from(usedMs, ([name, used]) => `${name} ${(used / ms).toFixed(2)}`);
    console.log(
      `${count} workers: ${Math.round((RUNS * 1_000) / ms)} runs/s of ${STEPS} steps; cores: ${shares.join(", ")}`,
    );
  } finally {
    await Promise.all(workers.map((worker) => worker.stop("SIGTERM")));
  }
}

async function runAll(count: number): Promise<void> {
  const ended = await countEnded(sql);
  const runs = await accept(sql, count, "orch_bench");
  await enqueue(queue, runs);
  await untilEnded(sql, ended + count);
}
