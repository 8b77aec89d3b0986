/**
 * `npm run bench:takeover`: how long runs wait after a `kill -9` of tsuccessor worker. Five kills of workers with ten runs each
 * are fifty takeovers: the time from the kill until another worker has claimed the run.
 */
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import postgres from "postgres";
import { startPostgres } from "../../local/stores/postgres.ts";
import { inMemory, startRedis } from "../../local/stores/redis.ts";
import { TenantId, newRunId } from "../../shared/contracts/ids.ts";
import { scoreOf } from "../../shared/queue/job.ts";
import { Queue } from "../../shared/queue/queue.ts";
import { ColdError } from "../../shared/queue/scripts.ts";
import { saveOrchestration } from "../../shared/store/definitions/orchestrations.ts";
import { acceptRuns } from "../../shared/store/runs/accept-runs.ts";
import { connectionOptions } from "../../shared/store/sql.ts";
import { migrate } from "../../worker-node/clients/migrations.ts";
import { spawnWorker } from "../services/worker-process.ts";
import { scriptCommands } from "../../worker-node/clients/redis.ts";
import { quantile } from "./stats.ts";

const KILLS = 5;
const RUNS = 10;
const tenant = TenantId.parse("bench");

const dir = mkdtempSync(join(tmpdir(), "synapse-takeover-"));
chmodSync(dir, 0o711);
const postgresService = await startPostgres({ dir: join(dir, "postgres") });
const redisService = await startRedis({ dir: join(dir, "redis"), args: inMemory });
const sql = postgres(postgresService.url, { ...connectionOptions, max: 2 });
const redis = new Redis(redisService.url, { protocol: 2 });
const queue = new Queue(scriptCommands(redis), 1);
const start = async (id: string) => {
  const worker = spawnWorker(id, {
    REDIS_URL: redisService.url,
    SCALE_POSTGRES_URL: postgresService.url,
    WORKER_CONCURRENCY: String(RUNS),
    WORKER_HEALTH_PORT: "0",
  });
  await worker.untilLogged("worker.ready");
  return worker;
};

try {
  await migrate(postgresService.url);
  await sql`insert into tenants (tenant_id) values (${tenant})`;
  await saveOrchestration(sql, tenant, {
    id: "orch_slow",
    name: "Slow",
    description: "",
    definition: JSON.stringify({
      id: "orch_slow",
      name: "Slow",
      entry_step_id: "slow",
      steps: [
        { id: "slow", name: "Slow", type: "llm", model: "demo/slow", prompt_template: "Write a report" },
      ],
    }),
  });
  const waitsMs: number[] = [];
  for (let kill = 0; kill < KILLS; kill++) {
    const victim = await start(`victim-${kill}`);
    await untilWarm();
    await accept();
    await untilRunning(RUNS);
    const successor = await start(`successor-${kill}`);
    const killedMs = performance.now();
    await victim.stop("SIGKILL");
    waitsMs.push(...(await takeovers(killedMs)));
    await successor.stop("SIGKILL");
    await sql`update runs set status = 'cancelled', ended_at = now(), wake_at = null, owner = null`;
    await redis.flushall();
    await sql`delete from locks`;
  }
  const figures = [0.5, 0.99, 1].map((share) => (quantile(waitsMs, share) / 1_000).toFixed(1));
  console.log(
    `${waitsMs.length} takeovers after ${KILLS} kills: p50 ${figures[0]} s, p99 ${figures[1]} s, max ${figures[2]} s`,
  );
} finally {
  redis.disconnect();
  await sql.end({ timeout: 1 });
  await Promise.all([postgresService.stop(), redisService.stop()]);
  rmSync(dir, { recursive: true, force: true });
}

/** Waits until a worker has built the index of the empty queue. */
async function untilWarm(): Promise<void> {
  for (let tries = 0; tries < 60; tries++, await sleep(500)) {
    try {
      await queue.readIndex(0);
      return;
    } catch (error) {
      if (!(error instanceof ColdError)) throw error;
    }
  }
  throw new Error("the queue stays cold");
}

async function accept(): Promise<void> {
  const runs = Array.from({ length: RUNS }, () => newRunId(Date.now()));
  await acceptRuns(
    sql,
    runs.map((run_id) => ({
      run_id,
      tenant_id: tenant,
      orchestration_id: "orch_slow",
      lane: "default",
      priority: 0,
      correlation_id: run_id,
      session_id: null,
      triggered_by: "api",
      input: JSON.stringify({ message: "takeover", state: {} }),
      metadata: "{}",
      delay_ms: 0,
      idempotency_key: null,
      request_hash: null,
      webhook_url: null,
      webhook_secret: null,
    })),
  );
  await queue.enqueue(
    runs.map((run) => ({
      run,
      tenant,
      lane: "default",
      score: scoreOf(Date.now(), 0),
      status: "queued",
      delayMs: 0,
    })),
  );
}

async function untilRunning(count: number): Promise<void> {
  for (let tries = 0; tries < 600; tries++) {
    const [row] = await sql<
      { n: number }[]
    >`select count(*)::int as n from runs where status = 'running' and event_seq > 0`;
    if (row?.n === count) return;
    await sleep(50);
  }
  throw new Error("the runs were not claimed");
}

/** The milliseconds from the kill until each run has another owner, sampled every 20 ms. */
async function takeovers(killedMs: number): Promise<number[]> {
  const seen = new Map<string, number>();
  for (let tries = 0; tries < 3_000; tries++) {
    const rows = await sql<
      { run_id: string }[]
    >`select run_id from runs where status = 'running' and attempt = 2`;
    for (const { run_id } of rows) {
      if (!seen.has(run_id)) seen.set(run_id, performance.now() - killedMs);
    }
    if (seen.size === RUNS) return [...seen.values()];
    await sleep(20);
  }
  throw new Error("the runs were not taken over");
}
