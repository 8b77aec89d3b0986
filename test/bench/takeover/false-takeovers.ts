import { readdirSync, readFileSync } from "node:fs";
import { loadavg } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { TOLERATED_STOP_MS } from "../../../shared/timing.ts";
import type { WorkerProcess } from "../../services/worker-process.ts";
import type { BenchFleet } from "./fleet.ts";

const WORKERS = 3;
/** The runs that are under way or queued all the time. */
const RUNS = 30;
/** From the beginning of one disturbance to that of the next one. */
const PERIOD_MS = 9_000;

/**
 * Disturbs living workers for some minutes, in turn: a worker is stopped for 3 s, the event loop of one is blocked for 3 s,
 * Postgres is stopped for 3 s. Prints the largest lateness of a beat, which shows how near a false takeover was.
 * @returns how many runs were claimed a second time, or stopped as superseded
 */
export async function countFalseTakeovers(fleet: BenchFleet, minutes: number): Promise<number> {
  const workers = await Promise.all(Array.from({ length: WORKERS }, (_, i) => fleet.start(`w-${i}`)));
  const disturbances = [
    ...workers.map((worker) => () => stopFor([worker.pid])),
    async () => stopFor(processesOf(fleet.postgres.pid)),
    ...workers.map((worker) => async () => void worker.process.kill("SIGUSR2")),
    async () => stopFor(processesOf(fleet.postgres.pid)),
  ];
  const endMs = performance.now() + minutes * 60_000;
  let times = 0;
  const gaps: Gaps = { last: new Map(), mostMs: 0 };
  while (performance.now() < endMs) {
    const disturbed = disturbances[times++ % disturbances.length]?.();
    const untilMs = Math.min(endMs, performance.now() + PERIOD_MS);
    while (performance.now() < untilMs) {
      await keepRuns(fleet);
      await noteGaps(fleet, gaps);
      await sleep(200);
    }
    await disturbed;
  }
  const [row] = await fleet.sql<{ runs: number; again: number; silences: number }[]>`
    select count(*)::int as runs, count(*) filter (where attempt > 1)::int as again,
      (select sum(silences)::int from workers) as silences from runs`;
  const superseded = workers.flatMap(({ lines }) => lines.filter(isSuperseded)).length;
  const ended = workers.filter(({ process }) => process.exitCode !== null).length;
  console.log(
    `${minutes} minutes, ${times} disturbances, load ${loadavg()[0]?.toFixed(1)}: ${row?.runs} runs, ` +
      `${row?.again} taken over from a living worker, ${superseded} superseded, ${ended} workers ended, ` +
      `${row?.silences} silences counted; the latest beat came after ${gaps.mostMs} ms`,
  );
  return (row?.again ?? Infinity) + superseded + ended;
}

const isSuperseded = ({ event, ending }: WorkerProcess["lines"][number]): boolean =>
  event === "run.execution_ended" && ending === "dropped";

async function keepRuns(fleet: BenchFleet): Promise<void> {
  const [row] = await fleet.sql<{ n: number }[]>`select count(*)::int as n from runs where ended_at is null`;
  if ((row?.n ?? RUNS) < RUNS) await fleet.submit(RUNS - (row?.n ?? RUNS));
}

type Gaps = { last: Map<string, number>; mostMs: number };

/** Notes the longest time between two beats of a worker that Postgres has seen. */
async function noteGaps({ sql }: BenchFleet, gaps: Gaps): Promise<void> {
  const rows = await sql<{ incarnation: string; ms: number }[]>`
    select incarnation, (extract(epoch from beat_at) * 1000)::float8 as ms from workers`;
  for (const { incarnation, ms } of rows) {
    gaps.mostMs = Math.round(Math.max(gaps.mostMs, ms - (gaps.last.get(incarnation) ?? ms)));
    gaps.last.set(incarnation, ms);
  }
}

async function stopFor(pids: readonly number[]): Promise<void> {
  for (const pid of pids) process.kill(pid, "SIGSTOP");
  try {
    await sleep(TOLERATED_STOP_MS);
  } finally {
    for (const pid of pids) process.kill(pid, "SIGCONT");
  }
}

/** A process and its children. */
function processesOf(pid: number | null): number[] {
  if (pid === null) throw new Error("Postgres does not run");
  const children = readdirSync("/proc").filter((name) => {
    if (!/^\d+$/.test(name)) return false;
    try {
      // After the command's name, which may contain spaces: the state, and the parent.
      return readFileSync(`/proc/${name}/stat`, "utf8")
        .replace(/^.*\) \S+ /, "")
        .startsWith(`${pid} `);
    } catch {
      return false; // it has ended
    }
  });
  return [pid, ...children.map(Number)];
}
