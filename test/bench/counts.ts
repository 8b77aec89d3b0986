/** Counts what a POST and the run that it starts cost the stores. Unlike times, counts do not depend on the machine's load. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Redis } from "ioredis";
import type { Service } from "../../local/processes/child.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { spawnWorker } from "../services/worker-process.ts";
import type { Orchestration } from "./definition.ts";
import type { BenchEdge } from "./edge.ts";
import { sendFor } from "./load.ts";
import type { Queue } from "../../shared/queue/queue.ts";
import { runRequest } from "./requests.ts";
import type { Row } from "./stats.ts";

const TWO_STEPS: Orchestration = "orch_two";
const RUNS = 40;
/** A run ends long before the next one is posted, so that no two share a script call or a commit. */
const APART_MS = 300;

type Stores = { sql: Sql; redis: Redis; postgres: Service; redisService: Service };
type Counts = { commands: number; scriptCalls: number; commits: number };

/**
 * One POST after another, each with its two-step run, on a stack that does nothing else. The counts of an idle stack are subtracted. The
 * bounds of calls and commits leave room for a pass of the reconciler, and not for another one in each run.
 */
export async function benchCounts(stores: Stores, { port, key, queue }: BenchEdge): Promise<Row[]> {
  const worker = spawnWorker("counts", {
    REDIS_URL: stores.redisService.url,
    SCALE_POSTGRES_URL: stores.postgres.url,
    WORKER_HEALTH_PORT: "0",
    EVENT_SHARDS: "1",
  });
  const post = { port, clients: 1, request: runRequest(key, TWO_STEPS), status: 202 };
  try {
    await worker.untilLogged("worker.ready");
    await sendFor(post, 0);
    await untilAllEnded(stores.sql);
    await untilCounted(queue);
    const idle = await countsOf(stores, async () => {
      for (let i = 0; i < RUNS; i++) await sleep(APART_MS);
    });
    const busy = await countsOf(stores, async () => {
      for (let i = 0; i < RUNS; i++) await Promise.all([sendFor(post, 0), sleep(APART_MS)]);
    });
    await untilAllEnded(stores.sql);
    const perRun = (name: keyof Counts) => (busy[name] - idle[name]) / RUNS;
    // An accepted run is a commit: fewer means that Postgres has not reported them.
    if (perRun("commits") < 1) throw new Error(`Postgres reports ${perRun("commits")} commits for each run`);
    const what = "POST and its two-step run, alone";
    return [
      { what: `${what}: Redis commands`, figure: perRun("commands"), unit: "", mark: "<= 59", most: 59 },
      { what: `${what}: script calls`, figure: perRun("scriptCalls"), unit: "", mark: "<= 3", most: 3 },
      { what: `${what}: commits`, figure: perRun("commits"), unit: "", mark: "<= 3", most: 3.2 },
    ];
  } finally {
    await worker.stop("SIGTERM");
  }
}

async function countsOf(stores: Stores, work: () => Promise<void>): Promise<Counts> {
  const before = await readCounts(stores);
  await work();
  const after = await readCounts(stores);
  return {
    commands: after.commands - before.commands,
    scriptCalls: after.scriptCalls - before.scriptCalls,
    commits: after.commits - before.commits,
  };
}

/** A session of Postgres that becomes idle may report its last transactions only 10 s later. */
const REPORTED_MS = 11_000;

async function readCounts({ sql, redis }: Stores): Promise<Counts> {
  await sleep(REPORTED_MS);
  const [row] = await sql<{ commits: number }[]>`
    select xact_commit::float8 as commits from pg_stat_database where datname = current_database()`;
  const calls = new Map<string, number>();
  for (const [, command = "", count] of (await redis.info("commandstats")).matchAll(
    /^cmdstat_(\S+?):calls=(\d+)/gm,
  )) {
    calls.set(command, Number(count));
  }
  return {
    commands: Array.from(calls.values()).reduce((sum, count) => sum + count, 0),
    scriptCalls: (calls.get("evalsha") ?? 0) + (calls.get("eval") ?? 0),
    commits: row?.commits ?? NaN,
  };
}

/** A new edge has the queue counted anew. Until that is done, Postgres counts: a POST then costs one more statement. */
async function untilCounted(queue: Queue): Promise<void> {
  for (let tries = 0; tries < 600; tries++) {
    if ((await queue.readIndex(0)).quotaReady) return;
    await sleep(100);
  }
  throw new Error("the queue is not counted");
}

async function untilAllEnded(sql: Sql): Promise<void> {
  for (let tries = 0; tries < 600; tries++) {
    const [row] = await sql<{ n: number }[]>`
      select count(*)::int as n from runs where orchestration_id = ${TWO_STEPS} and ended_at is null`;
    if (row?.n === 0) return;
    await sleep(50);
  }
  throw new Error("the runs do not end");
}
