import { newRun } from "../services/new-run.ts";
import { randomInt } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import { newRunId } from "../../shared/contracts/ids.ts";
import type { RunId } from "../../shared/contracts/ids.ts";
import type { NewRun } from "../../shared/contracts/run.ts";
import { keys } from "../../shared/keys.ts";
import { linesOf } from "../../shared/events/lines.ts";
import { readLive } from "../../shared/events/live.ts";
import type { LiveEntry } from "../../shared/events/live.ts";
import { scoreOf } from "../../shared/queue/job.ts";
import type { Queue } from "../../shared/queue/queue.ts";
import { acceptRuns } from "../../shared/store/runs/accept-runs.ts";
import { pgArray } from "../../shared/store/sql.ts";
import type { Sql } from "../../shared/store/sql.ts";
import type { Service } from "../../local/processes/child.ts";
import { LOCAL_TOOLS, spawnDeployedWorker } from "./deployed-worker.ts";
import { cpuMs } from "./cpu.ts";
import { STEPS, TENANT } from "./definition.ts";
import type { Orchestration } from "./definition.ts";
import { latencyRows } from "./stats.ts";
import type { Row } from "./stats.ts";

const RUNS = 2_000;
const ALONE = 200;

export type Stores = { sql: Sql; queue: Queue; postgres: Service; redisService: Service };

/**
 * Durable runs of five steps: many at once, then one at a time, with the pickup of each. They are measured with steps that
 * call nothing, whose results are committed together, and with calls of a tool that costs nothing, each durable before the next.
 */
export async function benchRuns(stores: Stores, commitMs: number): Promise<Row[]> {
  const urls = { redisUrl: stores.redisService.url, postgresUrl: stores.postgres.url };
  const worker = await spawnDeployedWorker("bench", urls, LOCAL_TOOLS);
  try {
    await worker.untilLogged("worker.ready");
    await sleep(1_000);
    const withoutCalls = await benchKind(stores, worker.pid, "orch_bench");
    const tools = await benchKind(stores, worker.pid, "orch_tools");
    const wakeUps = await benchWakeUps(stores);
    return [
      {
        what: `durable runs of ${STEPS} steps, 1 worker`,
        figure: withoutCalls.runsPerSecond,
        unit: "runs/s",
        mark: ">= 800",
      },
      { what: "the same in steps", figure: withoutCalls.runsPerSecond * STEPS, unit: "steps/s" },
      { what: "processor time of the worker", figure: withoutCalls.cpuPerStepUs, unit: "us/step" },
      { what: "event lines of such a run", figure: withoutCalls.eventBytes, unit: "bytes", mark: "<= 2500" },
      ...latencyRows("pickup: enqueue to handler, idle", withoutCalls.pickups, "<= 3"),
      ...latencyRows(
        `one run of ${STEPS} steps alone`,
        withoutCalls.totals,
        `<= ${(4 * STEPS * commitMs).toFixed(1)}`,
      ),
      { what: `durable runs of ${STEPS} tool calls, 1 worker`, figure: tools.runsPerSecond, unit: "runs/s" },
      { what: "  processor time of the worker", figure: tools.cpuPerStepUs, unit: "us/step" },
      ...latencyRows(`one run of ${STEPS} tool calls alone`, tools.totals),
      ...latencyRows("child's end to parent's next step", wakeUps, "<= 50"),
    ];
  } finally {
    await worker.stop("SIGTERM");
  }
}

async function benchKind(stores: Stores, pid: number, orchestration: Orchestration) {
  const { sql } = stores;
  let ended = await countEnded(sql);
  const warm = await accept(sql, 200, orchestration);
  await enqueue(stores.queue, warm);
  await untilEnded(sql, (ended += warm.length));
  const many = await accept(sql, RUNS, orchestration);
  const cpuBeforeMs = cpuMs(pid);
  const startedMs = performance.now();
  await enqueue(stores.queue, many);
  await untilEnded(sql, ended + RUNS);
  const seconds = (performance.now() - startedMs) / 1_000;
  const cpuPerStepUs = ((cpuMs(pid) - cpuBeforeMs) * 1_000) / (RUNS * STEPS);
  const eventBytes = await eventBytesOf(sql, many);
  return { runsPerSecond: RUNS / seconds, cpuPerStepUs, eventBytes, ...(await alone(stores, orchestration)) };
}

/** The bytes of the event lines of a run, as the journal and the live streams have them. */
async function eventBytesOf(sql: Sql, runs: readonly RunId[]): Promise<number> {
  const [row] = await sql<{ bytes: number }[]>`
    select sum(octet_length(events))::float8 as bytes from journal where run_id = any(${pgArray(runs)}::text[])`;
  return (row?.bytes ?? 0) / runs.length;
}

/** Accepts runs of one of the bench's orchestrations, and does not enqueue them. @returns their ids */
export async function accept(sql: Sql, count: number, orchestration: Orchestration): Promise<RunId[]> {
  const runs = Array.from({ length: count }, () => newRunId(Date.now() - randomInt(1_000)));
  await acceptBenchRuns(sql, runs, orchestration);
  return runs;
}

/** Accepts runs of one of the bench's orchestrations, and does not enqueue them. */
export async function acceptBenchRuns(
  sql: Sql,
  runs: readonly RunId[],
  orchestration: Orchestration = "orch_bench",
): Promise<void> {
  for (let at = 0; at < runs.length; at += 500) {
    await acceptRuns(
      sql,
      runs.slice(at, at + 500).map((run_id) => benchRun(run_id, orchestration)),
    );
  }
}

/** A submitted run of one of the bench's orchestrations, due at once. */
export function benchRun(run_id: RunId, orchestration: Orchestration): NewRun {
  return newRun({ run_id, tenant_id: TENANT, orchestration_id: orchestration });
}

export async function enqueue(queue: Queue, runs: readonly RunId[]): Promise<void> {
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

/** How many runs have ended. */
export async function countEnded(sql: Sql): Promise<number> {
  const [row] = await sql<{ n: number }[]>`select count(*)::int as n from runs where ended_at is not null`;
  return row?.n ?? 0;
}

/** Waits until as many runs have ended. */
export async function untilEnded(sql: Sql, count: number): Promise<void> {
  for (let tries = 0; tries < 6_000; tries++) {
    if ((await countEnded(sql)) >= count) return;
    await sleep(10);
  }
  throw new Error("the runs do not end");
}

/** One run after another, watched on the live stream. */
async function alone(
  stores: Stores,
  orchestration: Orchestration,
): Promise<{ pickups: number[]; totals: number[] }> {
  const watcher = new Redis(stores.redisService.url, { protocol: 2 });
  const pickups: number[] = [];
  const totals: number[] = [];
  try {
    for (let i = 0; i < ALONE; i++) {
      const [run] = await accept(stores.sql, 1, orchestration);
      if (!run) throw new Error("the run was not accepted");
      const startedMs = Date.now() + (performance.now() % 1);
      const entries = watch(watcher, run);
      await enqueue(stores.queue, [run]);
      const seen = await entries;
      totals.push(Date.now() + (performance.now() % 1) - startedMs);
      pickups.push(Math.max(0, timeOf("worker_picked_up", seen[0]?.events ?? "") - startedMs));
    }
  } finally {
    watcher.disconnect();
  }
  return { pickups, totals };
}

/**
 * The times from the event of a child's end to that of the result with which the parent goes on, one run after another. Both
 * are a worker's.
 */
async function benchWakeUps(stores: Stores): Promise<number[]> {
  const watcher = new Redis(stores.redisService.url, { protocol: 2 });
  const wakeUps: number[] = [];
  try {
    for (let i = 0; i < ALONE; i++) {
      const [run] = await accept(stores.sql, 1, "orch_parent");
      if (!run) throw new Error("the run was not accepted");
      const entries = watch(watcher, run);
      await enqueue(stores.queue, [run]);
      const wokenAt = timeOf("child_completed", (await entries).map(({ events }) => events).join("\n"));
      const [end] = await stores.sql<{ events: string }[]>`
        select j.events from journal j join runs c using (run_id) where c.parent_run_id = ${run} and j.kind = 'end'`;
      wakeUps.push(wokenAt - timeOf("done", end?.events ?? ""));
    }
  } finally {
    watcher.disconnect();
  }
  return wakeUps;
}

/** The `ts` of the first event of a type in stored lines. */
function timeOf(type: string, events: string): number {
  const line = linesOf(events).find((each) => each.startsWith(`{"type":"${type}"`));
  return Date.parse(/"ts":"([^"]+)"/.exec(line ?? "")?.[1] ?? "");
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
