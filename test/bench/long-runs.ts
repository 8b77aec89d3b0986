/** What long runs cost a worker: a step in a loop of 10,000 rounds, and runs that wait for a person. */
import { setTimeout as sleep } from "node:timers/promises";
import { spawnDeployedWorker } from "./deployed-worker.ts";
import { cpuMs, residentKiB } from "./cpu.ts";
import { makeQuestion, makeRounds } from "./definition.ts";
import { accept, countEnded, enqueue, untilEnded } from "./runs.ts";
import type { Stores } from "./runs.ts";
import type { Row } from "./stats.ts";

const ROUNDS = [100, 1_000, 10_000] as const;
const PAUSED = 1_000;
/** How long a worker is watched that has nothing to do. */
const IDLE_MS = 20_000;

/**
 * The processor time of a step at 100, 1,000 and 10,000 rounds and the memory of the worker afterwards; then the processor time
 * and the memory of a worker without runs, and with 1,000 runs that it has paused.
 */
export async function benchLongRuns(stores: Stores): Promise<Row[]> {
  const urls = { redisUrl: stores.redisService.url, postgresUrl: stores.postgres.url };
  const worker = await spawnDeployedWorker("long", urls);
  try {
    await worker.untilLogged("worker.ready");
    // The first loop warms the compiler.
    await loopOf(stores, worker.pid, 1_000);
    const rows: Row[] = [];
    for (const rounds of ROUNDS) rows.push(...(await loopOf(stores, worker.pid, rounds)));
    return [...rows, ...(await pausedRuns(stores, worker.pid))];
  } finally {
    await worker.stop("SIGTERM");
  }
}

async function loopOf({ sql, queue }: Stores, pid: number, rounds: number): Promise<Row[]> {
  await makeRounds(sql, rounds);
  // As many steps each time, so that the clock's ticks of 10 ms do not matter.
  const runs = await accept(sql, Math.max(1, 10_000 / rounds), "orch_rounds");
  const ended = await countEnded(sql);
  const beforeMs = cpuMs(pid);
  await enqueue(queue, runs);
  await untilEnded(sql, ended + runs.length);
  const us = ((cpuMs(pid) - beforeMs) * 1_000) / (rounds * runs.length);
  return [
    {
      what: `a step in a loop of ${rounds} rounds: processor time`,
      figure: us,
      unit: "us/step",
      mark: "flat",
    },
    { what: "  memory of the worker afterwards", figure: residentKiB(pid) / 1_024, unit: "MiB" },
  ];
}

async function pausedRuns({ sql, queue }: Stores, pid: number): Promise<Row[]> {
  await makeQuestion(sql);
  const before = await idle(pid);
  await enqueue(queue, await accept(sql, PAUSED, "orch_asks"));
  await untilPaused(sql);
  const after = await idle(pid);
  return [
    { what: "an idle worker: processor time", figure: before.share, unit: "%" },
    { what: `  with ${PAUSED} paused runs`, figure: after.share, unit: "%" },
    { what: "an idle worker: memory", figure: before.mib, unit: "MiB" },
    { what: `  with ${PAUSED} paused runs`, figure: after.mib, unit: "MiB" },
  ];
}

/** The share of one processor that the process uses, and its memory. */
async function idle(pid: number): Promise<{ share: number; mib: number }> {
  // What the work before has left to do.
  await sleep(3_000);
  const beforeMs = cpuMs(pid);
  await sleep(IDLE_MS);
  return { share: ((cpuMs(pid) - beforeMs) / IDLE_MS) * 100, mib: residentKiB(pid) / 1_024 };
}

async function untilPaused(sql: Stores["sql"]): Promise<void> {
  for (let tries = 0; tries < 6_000; tries++) {
    const [row] = await sql<{ n: number }[]>`select count(*)::int as n from runs where status = 'paused'`;
    if ((row?.n ?? 0) >= PAUSED) return;
    await sleep(10);
  }
  throw new Error("the runs do not pause");
}
