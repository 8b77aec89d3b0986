/**
 * `npm run bench:fairness -- --api`: what a tenant notices of another one's flood through the whole system: workerd, the queue,
 * Postgres and two workers. Pickup is the time from a run's insert until a worker has claimed it, by Postgres' clock.
 */
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import postgres from "postgres";
import { z } from "zod";
import { startPostgres } from "../../local/stores/postgres.ts";
import { inMemory, startRedis } from "../../local/stores/redis.ts";
import { Scope, SHARED } from "../../shared/contracts/tenant.ts";
import { Queue } from "../../shared/queue/queue.ts";
import { saveOrchestration } from "../../shared/store/definitions/orchestrations.ts";
import { newApiKey, saveApiKey } from "../../shared/store/tenants/api-keys.ts";
import { connectionOptions } from "../../shared/store/sql.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { migrate } from "../../worker-node/clients/migrations.ts";
import { scriptCommands } from "../../worker-node/clients/redis.ts";
import { spawnWorker } from "../services/worker-process.ts";
import { startBenchEdge } from "./edge.ts";

const WORKERS = 2;
const ORCHESTRATIONS = 1_000;
/** A batch has at most 1,000 items, and Postgres and workerd are shared with what is measured. */
const BATCH = 500;
const PICKUPS = 400;
const PICKUP_EVERY_MS = 50;

/** How a flood is divided: over how many orchestrations, sessions and correlation ids. */
export type Flood = { jobs: number; over: 1 | typeof ORCHESTRATIONS };
export const floodsOf = (jobs: number): Flood[] => [
  { jobs, over: 1 },
  { jobs, over: ORCHESTRATIONS },
];

/**
 * The pickups of a quiet tenant's short runs in milliseconds, alone and then beside a flood of `jobs` runs of another tenant, each
 * of which asks a scripted model that streams for about a second.
 */
export async function pickupsBeside({ jobs, over }: Flood): Promise<{ alone: number[]; beside: number[] }> {
  const dir = mkdtempSync(join(tmpdir(), "synapse-fairness-api-"));
  chmodSync(dir, 0o711); // under root another user runs Postgres, and must be able to enter this folder
  const postgresService = await startPostgres({ dir: join(dir, "postgres") });
  const redisService = await startRedis({ dir: join(dir, "redis"), args: inMemory });
  const sql = postgres(postgresService.url, { ...connectionOptions, max: 4 });
  const redis = new Redis(redisService.url, { protocol: 2 });
  const ends: (() => Promise<unknown>)[] = [];
  try {
    await migrate(postgresService.url);
    await saveOrchestrations(sql);
    const queue = new Queue(scriptCommands(redis), 1);
    const edge = await startBenchEdge(dir, "edge", { sql, queue, postgres: postgresService, redisService });
    ends.unshift(() => edge.stop());
    const key = newApiKey();
    await saveApiKey(sql, key, { tenant: null, name: "bench", scopes: Scope.options });
    const call = apiOf(edge.port, key);
    const most = {
      max_concurrent_runs: 1_000_000,
      max_queued_runs: 1_000_000,
      requests_per_second: 1_000_000,
    };
    for (const tenant_id of ["quiet", "flooding"]) await call("/scale/tenants", { tenant_id, ...most });
    const env = {
      REDIS_URL: redisService.url,
      SCALE_POSTGRES_URL: postgresService.url,
      WORKER_HEALTH_PORT: "0",
    };
    for (let n = 0; n < WORKERS; n += 1) {
      const worker = spawnWorker(`w${n}`, env);
      ends.unshift(() => worker.stop("SIGKILL"));
      await worker.untilLogged("worker.ready");
    }

    const alone = await pickups(sql, call);
    await sendFlood(call, { jobs, over });
    const beside = await pickups(sql, call);
    const [left] = await sql<{ n: number }[]>`
      select count(*)::int as n from runs where tenant_id = 'flooding' and status = 'queued'`;
    if ((left?.n ?? 0) < jobs / 10)
      throw new Error(`only ${left?.n} of ${jobs} runs were waiting at the end`);
    return { alone, beside };
  } finally {
    for (const end of ends) await end();
    redis.disconnect();
    await sql.end({ timeout: 1 });
    await Promise.all([postgresService.stop(), redisService.stop()]);
    rmSync(dir, { recursive: true, force: true });
  }
}

async function saveOrchestrations(sql: Sql): Promise<void> {
  const step = {
    id: "a",
    name: "a",
    type: "llm",
    model: "demo/writer",
    prompt_template: "{input}",
    output_key: "x",
  };
  const short = { id: "a", name: "a", type: "print", print_content: "hi" };
  const names = Array.from({ length: ORCHESTRATIONS }, (_, n) => `orch_${n}`);
  for (const id of [...names, "orch_quiet"]) {
    const steps = [id === "orch_quiet" ? short : step];
    const definition = { id, name: id, description: "", entry_step_id: "a", steps };
    await saveOrchestration(sql, SHARED, {
      id,
      name: id,
      description: "",
      definition: JSON.stringify(definition),
    });
  }
}

type Call = (path: string, body: unknown) => Promise<unknown>;

function apiOf(port: number, key: string): Call {
  return async (path, body) => {
    const headers = { authorization: `Bearer ${key}`, "content-type": "application/json" };
    const response = await fetch(`http://127.0.0.1:${port}${path}`, {
      method: "POST",
      headers,
      body: JSON.stringify(body),
    });
    if (!response.ok) throw new Error(`${path} answered ${response.status}: ${await response.text()}`);
    return response.json();
  };
}

const Batch = z.object({ accepted: z.number() });

/** Sends the flood in batches. Each orchestration of a spread flood has its own session and correlation id. */
async function sendFlood(call: Call, { jobs, over }: Flood): Promise<void> {
  const size = Math.min(BATCH, Math.ceil(jobs / over));
  for (let sent = 0, n = 0; sent < jobs; n += 1) {
    const id = n % over;
    const item = {
      message: "hi",
      lane: "default",
      session_id: `session-${n}`,
      correlation_id: `correlation-${n}`,
    };
    const items = Array.from({ length: Math.min(size, jobs - sent) }, () => item);
    const path = `/api/v2/orchestrations/orch_${id}/runs:batch`;
    const { accepted } = Batch.parse(await call(path, { tenant_id: "flooding", items }));
    if (accepted < items.length) throw new Error(`${accepted} of ${items.length} runs were accepted`);
    sent += accepted;
  }
}

/** Starts runs of the quiet tenant, one at a time, and waits until all were claimed. */
async function pickups(sql: Sql, call: Call): Promise<number[]> {
  const [begin] = await sql<{ now: string }[]>`select clock_timestamp()::text as now`;
  for (let n = 0; n < PICKUPS; n += 1) {
    await call("/api/v2/orchestrations/orch_quiet/run", { tenant_id: "quiet", message: "hi" });
    await sleep(PICKUP_EVERY_MS);
  }
  for (let tries = 0; tries < 600; tries += 1) {
    const rows = await sql<{ ms: number }[]>`
      select extract(epoch from started_at - queued_at)::float8 * 1000 as ms from runs
      where tenant_id = 'quiet' and queued_at >= ${begin?.now ?? ""}::text::timestamptz and started_at is not null`;
    if (rows.length === PICKUPS) return rows.map(({ ms }) => ms);
    await sleep(100);
  }
  throw new Error("not all runs of the quiet tenant were claimed within a minute");
}
