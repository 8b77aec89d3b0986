/** The stores and workers of the takeover bench, and its runs: each is one step of a slow scripted model. */
import { newRun } from "../../services/new-run.ts";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import postgres from "postgres";
import type { Service } from "../../../local/processes/child.ts";
import { startPostgres } from "../../../local/stores/postgres.ts";
import { inMemory, startRedis } from "../../../local/stores/redis.ts";
import { TenantId, newRunId } from "../../../shared/contracts/ids.ts";
import type { RunId } from "../../../shared/contracts/ids.ts";
import { scoreOf } from "../../../shared/queue/job.ts";
import { Queue } from "../../../shared/queue/queue.ts";
import { ColdError } from "../../../shared/queue/scripts.ts";
import { saveOrchestration } from "../../../shared/store/definitions/orchestrations.ts";
import { acceptRuns } from "../../../shared/store/runs/accept-runs.ts";
import { connectionOptions } from "../../../shared/store/sql.ts";
import type { Sql } from "../../../shared/store/sql.ts";
import { migrate } from "../../../worker-node/clients/migrations.ts";
import { scriptCommands } from "../../../worker-node/clients/redis.ts";
import { spawnWorker } from "../../services/worker-process.ts";
import type { WorkerProcess } from "../../services/worker-process.ts";

const TENANT = TenantId.parse("bench");
const SLOTS = 60;

export type BenchFleet = {
  sql: Sql;
  postgres: Service;
  /** Starts a worker, and waits until it is ready. */
  start(id: string): Promise<WorkerProcess>;
  /** Accepts and enqueues runs. */
  submit(count: number): Promise<RunId[]>;
  stop(): Promise<void>;
};

export async function startBenchFleet(): Promise<BenchFleet> {
  const dir = mkdtempSync(join(tmpdir(), "synapse-takeover-"));
  chmodSync(dir, 0o711);
  const postgresService = await startPostgres({ dir: join(dir, "postgres") });
  const redisService = await startRedis({ dir: join(dir, "redis"), args: inMemory });
  const sql = postgres(postgresService.url, { ...connectionOptions, max: 2 });
  const redis = new Redis(redisService.url, { protocol: 2 });
  const queue = new Queue(scriptCommands(redis), 1);
  const workers: WorkerProcess[] = [];
  await migrate(postgresService.url);
  await sql`insert into tenants (tenant_id, max_concurrent_runs, max_queued_runs) values (${TENANT}, 1000, 1000)`;
  await saveSlow(sql);
  return {
    sql,
    postgres: postgresService,
    async start(id) {
      const worker = spawnWorker(id, {
        REDIS_URL: redisService.url,
        SCALE_POSTGRES_URL: postgresService.url,
        WORKER_CONCURRENCY: String(SLOTS),
        WORKER_HEALTH_PORT: "0",
        WORKER_DRAIN_SECONDS: "0",
        NODE_OPTIONS: `--import ${new URL("block-on-signal.ts", import.meta.url).href}`,
      });
      workers.push(worker);
      await worker.untilLogged("worker.ready");
      await untilWarm(queue);
      return worker;
    },
    async submit(count) {
      const runs = Array.from({ length: count }, () => newRunId(Date.now()));
      await accept(sql, runs);
      const score = scoreOf(Date.now(), 0);
      const job = { tenant: TENANT, lane: "default" as const, score, status: "queued" as const, delayMs: 0 };
      await queue.enqueue(runs.map((run) => ({ ...job, run })));
      return runs;
    },
    async stop() {
      redis.disconnect();
      await sql.end({ timeout: 1 });
      await Promise.all(workers.map((worker) => worker.stop("SIGKILL")));
      await Promise.all([postgresService.stop(), redisService.stop()]);
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

async function saveSlow(sql: Sql): Promise<void> {
  const slow = { id: "slow", name: "Slow", type: "llm", model: "demo/slow" };
  const steps = [{ ...slow, prompt_template: "Write about 450 words" }]; // takes half a minute
  const definition = JSON.stringify({ id: "orch_slow", name: "Slow", entry_step_id: "slow", steps });
  await saveOrchestration(sql, TENANT, { id: "orch_slow", name: "Slow", description: "", definition });
}

/** Waits until a worker has built the index of the empty queue. */
async function untilWarm(queue: Queue): Promise<void> {
  for (let tries = 0; tries < 120; tries++, await sleep(250)) {
    try {
      await queue.readIndex(0);
      return;
    } catch (error) {
      if (!(error instanceof ColdError)) throw error;
    }
  }
  throw new Error("the queue stays cold");
}

async function accept(sql: Sql, runs: readonly RunId[]): Promise<void> {
  await acceptRuns(
    sql,
    runs.map((run_id) => newRun({ run_id, tenant_id: TENANT, orchestration_id: "orch_slow" })),
  );
}
