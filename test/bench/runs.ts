import { randomInt } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import { newRunId } from "../../shared/contracts/ids.ts";
import type { RunId } from "../../shared/contracts/ids.ts";
import { keys } from "../../shared/keys.ts";
import { readLive } from "../../shared/events/live.ts";
import type { LiveEntry } from "../../shared/events/live.ts";
import { scoreOf } from "../../shared/queue/job.ts";
import type { Queue } from "../../shared/queue/queue.ts";
import { acceptRuns } from "../../shared/store/runs/accept-runs.ts";
import type { Sql } from "../../shared/store/sql.ts";
import type { Service } from "../../local/processes/child.ts";
import { spawnWorker } from "../services/worker-process.ts";
import { cpuMs } from "./cpu.ts";
import { STEPS, TENANT } from "./definition.ts";
import { latencyRows } from "./stats.ts";
import type { Row } from "./stats.ts";

const RUNS = 2_000;
const ALONE = 200;

type Stores = { sql: Sql; queue: Queue; postgres: Service; redisService: Service };

/** Durable runs of five `print` steps: many at once, then one at a time, with the pickup of each. */
export async function benchRuns(stores: Stores, commitMs: number): Promise<Row[]> {
  const { sql } = stores;
  const worker = spawnWorker("bench", {
    REDIS_URL: stores.redisService.url,
    SCALE_POSTGRES_URL: stores.postgres.url,
    WORKER_CONCURRENCY: "100",
    WORKER_HEALTH_PORT: "0",
    EVENT_SHARDS: "1",
  });
  try {
    await worker.untilLogged("worker.ready");
    await sleep(1_000);
    const warm = await accept(sql, 200);
    await enqueue(stores.queue, warm);
    await untilEnded(sql, warm.length);

    const many = await accept(sql, RUNS);
    const cpuBeforeMs = cpuMs(worker.pid);
    const startedMs = performance.now();
    await enqueue(stores.queue, many);
    await untilEnded(sql, warm.length + RUNS);
    const seconds = (performance.now() - startedMs) / 1_000;
    const cpuPerStepUs = ((cpuMs(worker.pid) - cpuBeforeMs) * 1_000) / (RUNS * STEPS);

    const { pickups, totals } = await alone(stores);
    return [
      {
        what: `durable runs of ${STEPS} steps, 1 worker`,
        figure: RUNS / seconds,
        unit: "runs/s",
        mark: ">= 800",
      },
      { what: "the same in steps", figure: (RUNS * STEPS) / seconds, unit: "steps/s" },
      { what: "processor time of the worker", figure: cpuPerStepUs, unit: "us/step" },
      ...latencyRows("pickup: enqueue to handler, idle", pickups, "<= 3"),
      ...latencyRows(`one run of ${STEPS} steps alone`, totals, `<= ${(4 * STEPS * commitMs).toFixed(1)}`),
    ];
  } finally {
    await worker.stop("SIGTERM");
  }
}

async function accept(sql: Sql, count: number): Promise<RunId[]> {
  const runs = Array.from({ length: count }, () => newRunId(Date.now() - randomInt(1_000)));
  await acceptBenchRuns(sql, runs);
  return runs;
}

/** Accepts runs of the bench's orchestration, and does not enqueue them. */
export async function acceptBenchRuns(sql: Sql, runs: readonly RunId[]): Promise<void> {
  for (let at = 0; at < runs.length; at += 500) {
    await acceptRuns(
      sql,
      runs.slice(at, at + 500).map((run_id) => ({
        run_id,
        tenant_id: TENANT,
        orchestration_id: "orch_bench",
        lane: "default",
        priority: 0,
        correlation_id: run_id,
        session_id: null,
        triggered_by: "api",
        input: JSON.stringify({ message: "bench", state: {} }),
        metadata: "{}",
        delay_ms: 0,
        idempotency_key: null,
        request_hash: null,
        webhook_url: null,
        webhook_secret: null,
      })),
    );
  }
}

async function enqueue(queue: Queue, runs: readonly RunId[]): Promise<void> {
  for (let at = 0; at < runs.length; at += 500) {
    const jobs = runs.slice(at, at + 500).map((run) => ({
      run,
      tenant: TENANT,
      lane: "default" as const,
      score: scoreOf(Date.now(), 0),
      status: "queued" as const,
      delayMs: 0,
    }));
    await queue.enqueue(jobs);
  }
}

async function untilEnded(sql: Sql, count: number): Promise<void> {
  for (let tries = 0; tries < 6_000; tries++) {
    const [row] = await sql<{ n: number }[]>`select count(*)::int as n from runs where ended_at is not null`;
    if ((row?.n ?? 0) >= count) return;
    await sleep(10);
  }
  throw new Error("the runs do not end");
}

/** One run after another, watched on the live stream. */
async function alone(stores: Stores): Promise<{ pickups: number[]; totals: number[] }> {
  const watcher = new Redis(stores.redisService.url, { protocol: 2 });
  const pickups: number[] = [];
  const totals: number[] = [];
  try {
    for (let i = 0; i < ALONE; i++) {
      const [run] = await accept(stores.sql, 1);
      if (!run) throw new Error("the run was not accepted");
      const startedMs = Date.now() + (performance.now() % 1);
      const entries = watch(watcher, run);
      await enqueue(stores.queue, [run]);
      const seen = await entries;
      totals.push(Date.now() + (performance.now() % 1) - startedMs);
      const at = /"worker_picked_up".*?"ts":"([^"]+)"/.exec(seen[0]?.events ?? "")?.[1];
      pickups.push(Math.max(0, Date.parse(at ?? "") - startedMs));
    }
  } finally {
    watcher.disconnect();
  }
  return { pickups, totals };
}

async function watch(redis: Redis, run: RunId): Promise<LiveEntry[]> {
  const seen: LiveEntry[] = [];
  let cursor = "$";
  for (let tries = 0; tries < 1_000; tries++) {
    const reply = await redis.xread("COUNT", 100, "BLOCK", 5_000, "STREAMS", keys.live(0), cursor);
    for (const [id, fields] of reply?.[0]?.[1] ?? []) {
      cursor = id;
      const entry = readLive(fields);
      if (entry?.run !== run) continue;
      seen.push(entry);
      if (entry.last) return seen;
    }
  }
  throw new Error(`the end of ${run} was not received`);
}
