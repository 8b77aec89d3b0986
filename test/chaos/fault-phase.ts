/**
 * The phase of faults: the whole system under load and faults, then a check of all its promises. It also fails when a point
 * of points.ts was not reached. With `short` only the schedule arms points, and a missed one is no failure.
 */
import { setTimeout as sleep } from "node:timers/promises";
import postgres from "postgres";
import { connectionOptions } from "../../shared/store/sql.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { check } from "./checker.ts";
import { Clients } from "./clients.ts";
import { readRedis, readTables } from "./evidence.ts";
import type { Evidence } from "./evidence.ts";
import { FaultLog } from "./fault-log.ts";
import { pointNames } from "./points.ts";
import { reachRemaining } from "./provoke.ts";
import { randomOf } from "./random.ts";
import { describeFault, describeViolations, printProgress, saveLogs, table } from "./report.ts";
import { follow, makeSchedule } from "./schedule.ts";
import { startSystem } from "./system.ts";
import type { System } from "./system.ts";
import { setTraps } from "./traps.ts";
import { Viewers } from "./viewers.ts";
import { PostgresWatch } from "./watch.ts";

/** The longest time from the last fault to rest: the last takeover, lease, retry and reservation end by then. */
const REST_MS = 120_000;

export type FaultOptions = { minutes: number; seed: number; short: boolean };

/** @returns whether every promise was kept */
export async function runFaultPhase({ minutes, seed, short }: FaultOptions): Promise<boolean> {
  const system = await startSystem(seed);
  printProgress("the system is up");
  const sql = postgres(system.postgres.url, { ...connectionOptions, max: 3 });
  try {
    const faults = new FaultLog();
    const { port, secret } = system.receiver;
    const webhook = { webhook_url: `http://127.0.0.1:${port}/webhook`, webhook_secret: secret };
    const watch = new PostgresWatch(sql, faults, system.deaths);
    const viewers = new Viewers(system.api, randomOf(seed, "viewers"), (run, seq) =>
      watch.noteFrame(run, seq),
    );
    const clients = new Clients(system.api, webhook, randomOf(seed, "clients"), (run) =>
      viewers.maybeWatch(run),
    );
    const watching = Promise.all([watch.watch(), watch.watchPoints(system.points)]);
    const edgeRestarts = await setTraps(system, faults);
    const sending = clients.send();
    await follow(makeSchedule(seed, minutes * 60_000), system, seed, faults, () => watch.rolledBack());
    printProgress("the faults have ended");
    if (!short) await reachRemaining(system, sql, faults);
    await Promise.all(edgeRestarts);
    if (!short) printProgress("the remaining points were tried");
    endFaults(system);
    clients.stop();
    await sending;
    printProgress((await untilAtRest(system, watch, sql)) ? "at rest" : "not at rest in time");
    await viewers.leave();
    watch.stop();
    await watching;
    if (watch.samples === 0) throw new Error("no sample of Postgres succeeded");

    const tables = await readTables(sql);
    await viewers.readAll(tables.runs.map(({ run_id }) => run_id));
    const evidence: Evidence = {
      ...tables,
      requests: clients.requests,
      acceptedAnswers: clients.acceptedAnswers,
      webhookRequests: system.receiver.requests,
      receiver: system.receiver.calls,
      unexpected: clients.unexpected,
      redis: await readRedis(system.redis.client),
      viewings: viewers.seen,
      framesTooEarly: watch.framesTooEarly,
      limitBreaches: watch.limitBreaches,
      takeovers: watch.takeovers,
      stalls: watch.stalls,
      calls: new Map([...system.model.calls, ...system.tool.calls, ...system.mcp.calls]),
    };
    return report(evidence, faults, system, { minutes, seed, short });
  } finally {
    await sql.end({ timeout: 1 });
    await system.stop();
  }
}

function endFaults(system: System): void {
  system.points.disarm();
  system.model.calm();
  system.tool.calm();
  system.mcp.calm();
  system.receiver.calm();
  for (const link of system.links) link.set("open");
  for (const member of system.workers) member.resume();
}

/** Waits until every run has ended, the queue is empty, and every delivery is done. @returns whether that came in time */
async function untilAtRest({ redis }: System, watch: PostgresWatch, sql: Sql): Promise<boolean> {
  const endMs = performance.now() + REST_MS;
  while (performance.now() < endMs) {
    await sleep(1_000);
    const { sizes } = await readRedis(redis.client);
    const pending = await sql`select from webhook_deliveries where done_at is null limit 1`;
    if (watch.open.length === 0 && (sizes.jobs ?? 0) === 0 && pending.length === 0) return true;
  }
  return false;
}

function report(
  evidence: Evidence,
  faults: FaultLog,
  system: System,
  { minutes, seed, short }: FaultOptions,
): boolean {
  const hits = system.points.hits().map(({ point }) => point);
  const missed = short ? [] : pointNames.filter((point) => !hits.includes(point));
  const violations = check(evidence);
  console.log(table(evidence, faults, hits, system.deaths.length));
  const isGood = violations.length === 0 && missed.length === 0 && evidence.runs.length > 0;
  if (isGood) return true;
  console.log(describeViolations(violations, evidence, faults));
  console.log(`\nAll faults:\n${faults.faults.map(describeFault).join("\n")}`);
  if (missed.length > 0) console.log(`\nNever reached: ${missed.join(", ")}`);
  saveLogs(system, seed);
  const shortOption = short ? " --short" : "";
  console.log(
    `To repeat it: npm run chaos -- --only faults --minutes ${minutes} --seed ${seed}${shortOption}`,
  );
  return false;
}
