/**
 * `npm run chaos -- --minutes N --seed S`: the real system under load and faults, then all its promises checked.
 *
 * The schedule of faults, the load and the moods of model and tool come from the seed; what the machine makes of them
 * does not, so a seed that failed may have to be run a few times to fail again.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import postgres from "postgres";
import { z } from "zod";
import { connectionOptions } from "../../shared/store/sql.ts";
import { check } from "./checker.ts";
import { Clients } from "./clients.ts";
import { readRedis, readTables } from "./evidence.ts";
import type { Evidence } from "./evidence.ts";
import { FaultLog } from "./fault-log.ts";
import { pointNames } from "./points.ts";
import { randomOf } from "./random.ts";
import { story, table, tell } from "./report.ts";
import { follow, makeSchedule } from "./schedule.ts";
import { startSystem } from "./system.ts";
import type { System } from "./system.ts";
import { Viewers } from "./viewers.ts";
import { Watch } from "./watch.ts";

/** Longest time to rest: the last takeover, the last lease, the last retry, the last reservation. */
const REST_MS = 120_000;

const LINGER_MS = 25_000;

const Options = z.object({
  minutes: z.coerce.number("--minutes is a number").min(0.1).max(600).default(2),
  seed: z.coerce
    .number("--seed is a number")
    .int()
    .default(() => Math.floor(Math.random() * 1e9)),
});

async function chaos({ minutes, seed }: z.infer<typeof Options>): Promise<boolean> {
  const system = await startSystem(seed);
  const sql = postgres(system.postgres.url, { ...connectionOptions, max: 3 });
  try {
    const faults = new FaultLog();
    const watch = new Watch(sql, faults, system.deaths);
    const viewers = new Viewers(system.api, randomOf(seed, "viewers"), (run, seq) => watch.glance(run, seq));
    const clients = new Clients(system.api, randomOf(seed, "clients"), (run) => viewers.consider(run));
    const watching = Promise.all([watch.watch(), watch.watchPoints(system.points)]);
    const sending = clients.send();
    await follow(makeSchedule(seed, minutes * 60_000), system, seed, faults, () => watch.rolledBack());
    await untilReached(system);
    calm(system);
    clients.stop();
    await sending;
    const restedMs = await untilAtRest(system, watch);
    await viewers.leave();
    watch.stop();
    await watching;

    const tables = await readTables(sql);
    await viewers.readAll(tables.runs.map(({ run_id }) => run_id));
    const evidence: Evidence = {
      ...tables,
      requests: clients.requests,
      odd: clients.odd,
      redis: await readRedis(system.redis.client),
      seen: viewers.seen,
      tooEarly: watch.tooEarly,
      overruns: watch.overruns,
      takeovers: watch.takeovers,
      standing: watch.standing,
      calls: new Map([...system.model.calls, ...system.tool.calls]),
    };
    return report(evidence, faults, system, restedMs, { minutes, seed });
  } finally {
    await sql.end({ timeout: 1 });
    await system.stop();
  }
}

/** Points that nobody has come by yet get a little longer, under load and without faults. */
async function untilReached({ points }: System): Promise<void> {
  for (let waitedMs = 0; waitedMs < LINGER_MS; waitedMs += 500) {
    if (pointNames.every((point) => !points.isArmed(point))) return;
    await sleep(500);
  }
}

function calm(system: System): void {
  system.points.disarm();
  system.model.calm();
  system.tool.calm();
  for (const link of system.links) link.set("open");
  for (const member of system.workers) member.goOn();
}

/** @returns how long it took until no run was open and nothing was on the queue. */
async function untilAtRest({ redis }: System, watch: Watch): Promise<number> {
  const startedMs = performance.now();
  for (let waitedMs = 0; waitedMs < REST_MS; waitedMs = performance.now() - startedMs) {
    await sleep(1_000);
    const { sizes } = await readRedis(redis.client);
    if (watch.open.length === 0 && (sizes.jobs ?? 0) === 0) return waitedMs;
  }
  return REST_MS;
}

function report(
  evidence: Evidence,
  faults: FaultLog,
  system: System,
  restedMs: number,
  { minutes, seed }: z.infer<typeof Options>,
): boolean {
  const hits = system.points.hits().map(({ point }) => point);
  const folder = join(tmpdir(), `synapse-chaos-${seed}-logs`);
  const missed = pointNames.filter((point) => !hits.includes(point));
  const violations = check(evidence);
  console.log(table(evidence, faults, hits, system.deaths.length));
  console.log(`at rest after ${Math.round(restedMs / 1_000)} s`);
  const good = violations.length === 0 && missed.length === 0 && evidence.runs.length > 0;
  if (good) return true;
  console.log(story(violations, evidence, faults));
  console.log(`\nAll faults:\n${faults.faults.map(tell).join("\n")}`);
  if (missed.length > 0) console.log(`\nNever reached: ${missed.join(", ")}`);
  mkdirSync(folder, { recursive: true });
  for (const [name, lines] of logsOf(system)) writeFileSync(join(folder, `${name}.log`), lines.join("\n"));
  console.log(`\nWhat all processes said is in ${folder}`);
  console.log(`Again: npm run chaos -- --minutes ${minutes} --seed ${seed}`);
  return false;
}

function logsOf({ workers, edge, rest }: System): [string, string[]][] {
  return [
    ...workers.map(({ name, lives }): [string, string[]] => [name, lives.flatMap(({ lines }) => lines)]),
    ["edge", edge.lines],
    ["redis-rest", rest.lines],
  ];
}

const { values } = parseArgs({ options: { minutes: { type: "string" }, seed: { type: "string" } } });
const options = Options.parse(values);
console.log(`chaos: ${options.minutes} minutes, seed ${options.seed}`);
const startedMs = performance.now();
const good = await chaos(options);
console.log(
  `${good ? "All promises kept" : "FAILED"} after ${Math.round((performance.now() - startedMs) / 1_000)} s`,
);
process.exit(good ? 0 : 1);
