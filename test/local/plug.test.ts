/** `npm start` while its processes are killed one after the other and runs are executed. */
import { once } from "node:events";
import { chmodSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import postgres from "postgres";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { isRunning } from "../../local/processes/pids.ts";
import { freePort } from "../../local/processes/ports.ts";
import { nodeProgram, startProgram, type Program } from "../../local/processes/programs.ts";
import { Viewer, type Frame } from "../services/viewer.ts";

const dir = mkdtempSync(join(tmpdir(), "synapse-plug-"));
const Facts = z.object({
  api_base: z.string(),
  api_key: z.string(),
  edge_pid: z.number(),
  redis_pid: z.number(),
  redis_rest_pid: z.number(),
  postgres_url: z.string(),
  postgres_pid: z.number(),
  workers: z.array(z.object({ name: z.string(), pid: z.number() })).length(2),
});

function facts(): z.infer<typeof Facts> {
  return Facts.parse(JSON.parse(readFileSync(join(dir, "dev.json"), "utf8")));
}

const lines: string[] = [];
let system: Program;

beforeAll(async () => {
  chmodSync(dir, 0o711); // under root Postgres runs as another user, which must be able to enter
  const { promise: running, resolve, reject } = Promise.withResolvers<void>();
  const command = nodeProgram("local/main.ts");
  const flags = ["--data", dir, "--port", String(await freePort(0))];
  system = startProgram("start", { ...command, args: [...command.args, ...flags] }, (line) => {
    lines.push(line);
    if (line.startsWith("synapse-edge is running")) resolve();
  });
  system.child.once("exit", () => reject(new Error("the system ended before it was running")));
  await running;
}, 120_000);
afterAll(async () => {
  await system.stop();
  rmSync(dir, { recursive: true, force: true });
});

/** Three steps of a scripted model that takes some seconds for each, so that a step is always under way. */
const STEPS = 3;
const slow = {
  name: "Slow",
  entry_step_id: "step0",
  steps: Array.from({ length: STEPS }, (_, at) => ({
    id: `step${at}`,
    name: "Step",
    type: "llm",
    model: "demo/slow",
    prompt_template: "Go on",
    output_key: `key${at}`,
    ...(at < STEPS - 1 && { next_step_id: `step${at + 1}` }),
  })),
};

const Accepted = z.object({ run_id: z.string(), stream_url: z.string(), status_url: z.string() });

function request(method: string, path: string, body?: unknown): Promise<Response> {
  const { api_base, api_key } = facts();
  return fetch(`${api_base}${path}`, {
    method,
    headers: { authorization: `Bearer ${api_key}`, "content-type": "application/json" },
    ...(body !== undefined && { body: JSON.stringify(body) }),
    signal: AbortSignal.timeout(10_000),
  });
}

/** Starts a run; repeats the request after a 503, as its Retry-After says. */
async function startRun(): Promise<z.infer<typeof Accepted>> {
  for (const deadline = performance.now() + 10_000; ; await sleep(250)) {
    const answer = await request("POST", "/api/v2/orchestrations/orch_slow/run", { message: "hello" });
    if (answer.status === 202) return Accepted.parse(await answer.json());
    const text = await answer.text();
    if (answer.status !== 503 || performance.now() > deadline)
      throw new Error(`POST answered ${answer.status}: ${text}`);
  }
}

async function until(condition: () => boolean, withinMs: number, what: string): Promise<void> {
  for (const deadline = performance.now() + withinMs; !condition(); await sleep(50)) {
    if (performance.now() > deadline) throw new Error(`this did not happen within ${withinMs} ms: ${what}`);
  }
}

/** Receives the frames of a run up to its `done`. It reconnects with its last id, as an EventSource does. */
async function watch(path: string, withinMs: number): Promise<Frame[]> {
  const { api_base, api_key } = facts();
  const frames: Frame[] = [];
  const deadline = performance.now() + withinMs;
  while (frames.at(-1)?.data.type !== "done") {
    const leftMs = deadline - performance.now();
    if (leftMs < 0) throw new Error(`${path} has no end within ${withinMs} ms`);
    const last = frames.at(-1)?.id;
    const headers = { authorization: `Bearer ${api_key}`, ...(last && { "last-event-id": last }) };
    try {
      const viewer = await Viewer.open(`${api_base}${path}`, headers);
      try {
        await viewer.end(leftMs);
      } finally {
        viewer.leave();
        if (viewer.status === 200) frames.push(...viewer.frames);
      }
    } catch {
      // The edge is unreachable, or the time is over, which the next iteration finds.
    }
    await sleep(250);
  }
  return frames;
}

/** The worker that claimed this run last, from the workers' output. */
function workerOf(runId: string): string {
  const taken = lines.findLast((line) => line.includes('"run.claimed"') && line.includes(runId));
  return taken?.split(" | ")[0] ?? "";
}

function pidOf(worker: string): number {
  return facts().workers.find(({ name }) => name === worker)?.pid ?? 0;
}

/** The processes to kill: the name in their output and the pid, given the worker of the run that is under way. */
const victims: [name: (worker: string) => string, pid: (worker: string) => number][] = [
  [() => "Redis", () => facts().redis_pid],
  [() => "redis-rest", () => facts().redis_rest_pid],
  [() => "Postgres", () => facts().postgres_pid],
  [() => "edge", () => facts().edge_pid],
  [(worker) => worker, pidOf],
];

function ends(name: string): number {
  return lines.filter((line) => line.startsWith(`${name} has ended`)).length;
}

// Fails when keepAlive does not restart a process that has ended.
test("runs finish and a stream has each event once, whichever process is killed meanwhile", async () => {
  const saved = await request("PUT", "/api/v2/orchestrations/orch_slow", slow);
  expect(saved.status).toBe(200);
  const before = facts();
  const accepted: z.infer<typeof Accepted>[] = [];
  const streams: Promise<Frame[]>[] = [];
  for (const [nameFor, pidFor] of victims) {
    const one = await startRun();
    accepted.push(one);
    streams.push(watch(one.stream_url, 200_000));
    // A run that was accepted while the queue was unreachable is enqueued within a minute.
    await until(() => workerOf(one.run_id) !== "", 60_000, `${one.run_id} is claimed`);
    const [name, victim] = [nameFor(workerOf(one.run_id)), pidFor(workerOf(one.run_id))];
    const isRestarted = (): boolean => pidFor(name) !== victim && isRunning(pidFor(name));
    process.kill(victim, "SIGKILL");
    await until(isRestarted, 30_000, `${name} has been restarted`);
    expect(ends(name)).toBe(1);
  }
  for (const frames of await Promise.all(streams)) {
    const numbers = frames.map(({ id }) => Number(id.split("-")[1]));
    expect(numbers.length).toBeGreaterThan(STEPS);
    expect(numbers).toEqual(numbers.map((_, index) => index + 1));
  }
  for (const { status_url } of accepted) {
    const answer = await request("GET", status_url);
    expect(await answer.json()).toMatchObject({ status: "completed" });
  }
  expect(facts().api_base).toBe(before.api_base);
}, 300_000);

// Fails when startPostgres does not end the backends of a killed Postgres.
test("Postgres restarts although a query of the killed Postgres is still running", async () => {
  const { postgres_pid, postgres_url } = facts();
  const sql = postgres(postgres_url, { max: 1 });
  const marker = await sql<{ pid: number }[]>`select pg_backend_pid() as pid`;
  const backend = z.number().parse(marker[0]?.pid);
  const endless =
    sql`select count(*) from generate_series(1, 1000000000) a where md5(a::text) = 'no'`.execute();
  endless.catch(() => {}); // its connection is cut off
  await sleep(500);
  process.kill(postgres_pid, "SIGKILL");
  await sleep(500);
  expect(isRunning(backend)).toBe(true);
  await until(() => facts().postgres_pid !== postgres_pid, 20_000, "Postgres has been restarted");
  await sql.end({ timeout: 0 });
}, 30_000);

test("Ctrl-C while processes are about to restart ends everything within 5 s", async () => {
  const { edge_pid, redis_pid, redis_rest_pid, postgres_pid, workers } = facts();
  const pids = [edge_pid, redis_pid, redis_rest_pid, postgres_pid, ...workers.map(({ pid }) => pid)];
  const before = ends("edge");
  for (const pid of [edge_pid, redis_pid, postgres_pid]) process.kill(pid, "SIGKILL");
  await until(() => ends("edge") > before, 5_000, "the end of the edge is written");
  await sleep(1_100); // the restart is under way
  const pressedMs = performance.now();
  system.child.kill("SIGINT");
  const [code] = await once(system.child, "exit");
  expect(performance.now() - pressedMs).toBeLessThan(5_000);
  expect(code).toBe(0);
  expect(pids.filter(isRunning)).toEqual([]);
}, 30_000);
