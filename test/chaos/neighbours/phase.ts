/**
 * The phase of neighbours: a quiet tenant is measured alone, then beside a hostile tenant of each kind (kinds.ts). Afterwards
 * the quiet tenant has no error and lost no run, its times are within bounds.ts, no process has ended, and the system is at rest.
 */
import { existsSync, writeFileSync } from "node:fs";
import { setPriority } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import postgres from "postgres";
import { z } from "zod";
import { Scope } from "../../../shared/contracts/tenant.ts";
import type { TenantId } from "../../../shared/contracts/ids.ts";
import { connectionOptions, pgArray } from "../../../shared/store/sql.ts";
import type { Sql } from "../../../shared/store/sql.ts";
import { newApiKey, saveApiKey } from "../../../shared/store/tenants/api-keys.ts";
import { quantile } from "../../bench/stats.ts";
import { Api } from "../api.ts";
import { redisIsEmpty } from "../checks/redis.ts";
import { broken } from "../checks/violation.ts";
import type { Violation } from "../checks/violation.ts";
import { readRedis } from "../evidence.ts";
import { nodeProgram } from "../../../local/processes/programs.ts";
import { endProgram, startProgram } from "../program.ts";
import type { Program } from "../program.ts";
import { printProgress, saveLogs } from "../report.ts";
import { startSystem } from "../system.ts";
import type { System } from "../system.ts";
import { bounds, checkNeighbours, figures, goalMs } from "./bounds.ts";
import type { HostileEnds, Measured, NeighbourEvidence } from "./bounds.ts";
import { quietWork } from "./definitions.ts";
import { limitsOf, quiet, tenantOf } from "./kinds.ts";
import type { KindName } from "./kinds.ts";
import { ProcessWatch, usedSince } from "./process-watch.ts";
import { QuietTenant } from "./quiet-tenant.ts";
import { Counts, HOSTILE_CLIENTS, Setup } from "./setup.ts";

const CLIENTS_YIELD = 5;
const WARM_MS = 3_000;
const ALONE_MS = 10_000;
/** The clients' requests are aborted; then they only print their counts. */
const CLIENTS_END_MS = 15_000;
/** The longest time to rest: a reservation lapses after 30 s. */
const REST_MS = 60_000;
/** Most violations that are printed for each promise. */
const SHOWN = 10;

const WORKERS = 2;
/** The hostile tenants may have 46 runs at once, which last as long as they can: they need more slots than the workers have. */
const SLOTS_OF_A_WORKER = 10;

/** `seconds`: how long the neighbours act. `kinds`: which of them. */
export type NeighbourOptions = { seed: number; seconds: number; kinds: readonly KindName[] };

/** @returns whether every promise was kept */
export async function runNeighbourPhase(options: NeighbourOptions): Promise<boolean> {
  const hostileServer = await startProgram(
    "hostile-server",
    nodeProgram("test/chaos/neighbours/servers.ts"),
    { event: "hostile_server.listening" },
    30_000,
  );
  const { port } = z.looseObject({ port: z.number() }).parse(hostileServer.line);
  const server = `http://127.0.0.1:${port}`;
  try {
    const workerEnv = {
      WORKER_CONCURRENCY: String(SLOTS_OF_A_WORKER),
      TOOL_TIMEOUT_SECONDS: "10",
      MODEL_TIMEOUT_SECONDS: "10",
      OPENAI_BASE_URL: `${server}/v1`,
      OPENAI_API_KEY: "no secret",
    };
    const system = await startSystem(options.seed, { workers: WORKERS, workerEnv, withS3: true });
    try {
      return await besideNeighbours(system, hostileServer.program, server, options);
    } finally {
      await system.stop();
    }
  } finally {
    await endProgram(hostileServer.program);
  }
}

async function besideNeighbours(
  system: System,
  hostileServer: Program,
  server: string,
  options: NeighbourOptions,
): Promise<boolean> {
  const { seconds, kinds } = options;
  const sql = postgres(system.postgres.url, { ...connectionOptions, max: 3 });
  try {
    for (const service of [system.model, system.tool]) service.calm();
    await system.api.must("POST", "/scale/tenants", { tenant_id: quiet });
    for (const kind of kinds) await system.api.must("POST", "/scale/tenants", limitsOf(kind));
    const api = new Api(system.api.base, await keyOf(sql, quiet));
    await api.must("PUT", `/api/v2/orchestrations/${quietWork.id}`, quietWork);
    const setup = await setupOf(sql, system.api.base, server, kinds);
    const watch = new ProcessWatch(system, [{ name: "this process", pid: process.pid }, hostileServer]);
    const tenant = new QuietTenant(api);
    tenant.watchFeed();
    await tenant.work(WARM_MS);
    printProgress("the quiet tenant is alone");
    const alone = await tenant.work(ALONE_MS);
    const clients = await startClients(setup);
    for (const program of [clients, hostileServer]) yieldProcessor(program);
    watch.add(clients);
    const usesBefore = watch.uses;
    printProgress("the neighbours act");
    const beside = await tenant.work(seconds * 1_000);
    const usesAfter = watch.uses;
    await endProgram(clients, CLIENTS_END_MS);
    printProgress("the neighbours have stopped");
    const restless = await untilAtRest(system, sql, setup);
    printProgress(restless.length === 0 ? "at rest" : "not at rest in time");
    const evidence: NeighbourEvidence = {
      alone: { ...alone, pickupsMs: await pickupsMs(sql, alone.runs) },
      beside: { ...beside, pickupsMs: await pickupsMs(sql, beside.runs) },
      feed: await tenant.leave([...alone.runs, ...beside.runs]),
      counts: countsOf(clients),
      failedClients: clients.lines.filter((line) => line.includes("hostile_clients.failed")),
      kinds,
      ends: await endsOf(sql, kinds),
      deaths: deathsOf(system),
      processUses: usesAfter.map((use, index) => usedSince(use, usesBefore[index])),
    };
    watch.stop();
    return report(evidence, [...checkNeighbours(evidence), ...restless], system, options);
  } finally {
    await sql.end({ timeout: 1 });
  }
}

/** A key of each hostile tenant, for its clients. */
async function setupOf(sql: Sql, base: string, server: string, kinds: readonly KindName[]): Promise<Setup> {
  const keys = await Promise.all(kinds.map(async (kind) => [kind, await keyOf(sql, tenantOf(kind))]));
  return Setup.parse({ base, server, keys: Object.fromEntries(keys) });
}

async function keyOf(sql: Sql, tenant: TenantId): Promise<string> {
  const key = newApiKey();
  await saveApiKey(sql, key, { tenant, name: tenant, scopes: Scope.options });
  return key;
}

async function startClients(setup: Setup): Promise<Program> {
  const command = nodeProgram("test/chaos/neighbours/clients.ts", {
    [HOSTILE_CLIENTS]: JSON.stringify(setup),
  });
  return (await startProgram("hostile-clients", command, { event: "hostile_clients.acting" }, 60_000))
    .program;
}

/**
 * Gives a process a third of the usual share of a busy processor. The hostile clients and their server are other machines in
 * reality. As each sends when it gets to it, what they send adapts to what this machine can do beside it. Linux may group the
 * threads of a session; a process's own priority then counts only inside of its group.
 */
function yieldProcessor({ pid }: Program): void {
  setPriority(pid, CLIENTS_YIELD);
  const group = `/proc/${pid}/autogroup`;
  if (existsSync(group)) writeFileSync(group, String(CLIENTS_YIELD));
}

const CountedLine = z.looseObject({ event: z.literal("hostile_clients.counted"), counts: z.string() });

function countsOf({ lines }: Program): Counts {
  const line = lines.findLast((text) => text.includes("hostile_clients.counted"));
  if (line === undefined) throw new Error(`the hostile clients ended without their counts: ${lines.at(-1)}`);
  return Counts.parse(JSON.parse(CountedLine.parse(JSON.parse(line)).counts));
}

/** The time in the queue of each run, by the clock of Postgres. */
async function pickupsMs(sql: Sql, runs: readonly string[]): Promise<number[]> {
  const rows = await sql<{ ms: number | null }[]>`
    select extract(epoch from started_at - queued_at)::float8 * 1000 as ms
    from runs where run_id = any(${pgArray(runs)}::text[])`;
  return rows.flatMap(({ ms }) => ms ?? []);
}

const End = z.object({ tenant_id: z.string(), code: z.string() });

async function endsOf(sql: Sql, kinds: readonly KindName[]): Promise<HostileEnds> {
  const rows = await sql`
    select distinct tenant_id, error::jsonb->>'code' as code from runs where error is not null`;
  const ends = rows.map((row) => End.parse(row));
  const codesOf = (tenant: string) => ends.filter((end) => end.tenant_id === tenant).map(({ code }) => code);
  return new Map(kinds.map((kind) => [kind, new Set(codesOf(tenantOf(kind)))]));
}

/** The processes that ended during the phase. */
function deathsOf({ workers, deaths, edge, rest }: System): string[] {
  return [
    ...deaths.map(({ incarnation }) => `the worker ${incarnation} died`),
    ...workers.flatMap(({ name, programs }) => (programs.length === 1 ? [] : [`${name} was restarted`])),
    ...[edge.program, rest.program].flatMap((program) =>
      program.hasEnded() ? [`${program.name} has ended`] : [],
    ),
  ];
}

/** Cancels what the hostile tenants have left, and waits. @returns what still moves or is held after `REST_MS` */
async function untilAtRest({ redis }: System, sql: Sql, { base, keys }: Setup): Promise<Violation[]> {
  const endMs = performance.now() + REST_MS;
  for (;;) {
    for (const key of Object.values(keys)) {
      await new Api(base, key).call("POST", "/api/v2/orchestrations/runs:cancel", { all: true });
    }
    const open = await sql<{ tenant_id: string; status: string; count: number }[]>`
      select tenant_id, status, count(*)::int as count from runs
      where status in ('queued', 'running', 'paused') group by 1, 2`;
    const left = open.map(({ tenant_id, status, count }) =>
      broken("202 means it will finish", `${count} runs of ${tenant_id} are ${status}`),
    );
    left.push(...redisIsEmpty({ redis: await readRedis(redis.client) }));
    if (left.length === 0 || performance.now() > endMs) return left;
    await sleep(1_000);
  }
}

function report(
  { alone, beside, kinds, counts, ends, processUses }: NeighbourEvidence,
  violations: readonly Violation[],
  system: System,
  { seed, seconds }: NeighbourOptions,
): boolean {
  console.log(`${"the quiet tenant".padEnd(38)} alone p50    p99   beside p50    p99   goal  at most (ms)`);
  for (const figure of figures) {
    const at = ({ [figure]: samples }: Measured, share: number, width: number) =>
      quantile(samples, share).toFixed(0).padStart(width);
    const goal = goalMs(figure, alone);
    const most = Math.max(goal, bounds[figure].floorMs);
    console.log(
      `${bounds[figure].what.padEnd(38)} ${at(alone, 0.5, 9)} ${at(alone, 0.99, 6)} ${at(beside, 0.5, 12)} ` +
        `${at(beside, 0.99, 6)} ${goal.toFixed(0).padStart(6)} ${most.toFixed(0).padStart(8)}`,
    );
  }
  console.log(`runs alone / beside: ${alone.runs.length} / ${beside.runs.length}`);
  console.log(`${"processor time (s)".padEnd(20)}    all   main thread   main thread waited    MiB`);
  for (const { name, largestMiB, cpuMs, mainCpuMs, waitedMs } of processUses) {
    const inSeconds = (ms: number, width: number) => (ms / 1_000).toFixed(1).padStart(width);
    console.log(
      `${name.padEnd(20)} ${inSeconds(cpuMs, 6)} ${inSeconds(mainCpuMs, 13)} ${inSeconds(waitedMs, 20)} ${largestMiB.toFixed(0).padStart(6)}`,
    );
  }
  for (const kind of kinds) {
    const answers = Object.entries(counts[kind] ?? {}).map(([status, count]) => `${count} x ${status}`);
    const codes = [...(ends.get(kind) ?? [])];
    const ended = codes.length === 0 ? "" : `; runs ended with ${codes.join(", ")}`;
    console.log(`${kind.padEnd(12)} ${answers.join(", ")}${ended}`);
  }
  if (violations.length === 0) return true;
  const promises = Map.groupBy(violations, ({ promise }) => promise);
  for (const [promise, group] of promises) {
    console.log(`\n### ${promise}: broken ${group.length} times`);
    for (const { detail } of group.slice(0, SHOWN)) console.log(`- ${detail}`);
  }
  saveLogs(system, seed);
  console.log(
    `To repeat it: npm run chaos -- --only neighbours --seed ${seed} --seconds ${seconds} --kinds ${kinds.join(",")}`,
  );
  return false;
}
