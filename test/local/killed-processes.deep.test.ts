/** Runs finish although each process of `npm start` is killed while they are under way. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { isRunning } from "../../local/processes/pids.ts";
import { Viewer, type Frame } from "../services/viewer.ts";
import { pace, until } from "../services/waiting.ts";
import { OwnSystem } from "./own-system.ts";

let system: OwnSystem;
beforeAll(async () => {
  system = await OwnSystem.start();
});
afterAll(() => system.stop());

/** Three steps of a scripted model, each of some seconds, so that a step is under way at each kill. */
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
  const { api_base, api_key } = system.facts;
  return fetch(`${api_base}${path}`, {
    method,
    headers: { authorization: `Bearer ${api_key}`, "content-type": "application/json" },
    ...(body !== undefined && { body: JSON.stringify(body) }),
    signal: AbortSignal.timeout(30_000),
  });
}

/** Starts a run, as a client that repeats a 503. */
async function run(): Promise<z.infer<typeof Accepted>> {
  let text = "";
  await until("the run is accepted", async () => {
    const answer = await request("POST", "/api/v2/orchestrations/orch_slow/run", { message: "hello" });
    text = await answer.text();
    if (answer.status !== 202 && answer.status !== 503)
      throw new Error(`POST answered ${answer.status}: ${text}`);
    return answer.status === 202;
  });
  return Accepted.parse(JSON.parse(text));
}

/** The frames of a run up to its `done`. Like an EventSource it reconnects with the last id it has received. */
async function watch(path: string, withinMs: number): Promise<Frame[]> {
  const { api_base, api_key } = system.facts;
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
      // The edge is away, or `withinMs` has passed: the next round of the loop decides.
    }
    await pace(250);
  }
  return frames;
}

/** The worker that was the last to claim this run, by its log. */
function workerOf(runId: string): string {
  const claimed = system.lines.findLast((line) => line.includes('"run.claimed"') && line.includes(runId));
  return claimed?.split(" | ")[0] ?? "";
}

function pidOf(worker: string): number {
  return system.facts.workers.find(({ name }) => name === worker)?.pid ?? 0;
}

/** The processes to kill: the name in the log of `npm start`, and the pid. `worker` executes the run that was started last. */
const victims: [name: (worker: string) => string, pid: (worker: string) => number][] = [
  [() => "Redis", () => system.facts.redis_pid],
  [() => "redis-rest", () => system.facts.redis_rest_pid],
  [() => "Postgres", () => system.facts.postgres_pid],
  [() => "edge", () => system.facts.edge_pid],
  [(worker) => worker, pidOf],
];

// Fails when keepAlive does not start again what has ended.
test("runs finish and a stream shows each event once, whichever process is killed meanwhile", async () => {
  const saved = await request("PUT", "/api/v2/orchestrations/orch_slow", slow);
  expect(saved.status).toBe(200);
  const before = system.facts;
  const accepted: z.infer<typeof Accepted>[] = [];
  const streams: Promise<Frame[]>[] = [];
  for (const [nameFor, pidFor] of victims) {
    const one = await run();
    accepted.push(one);
    streams.push(watch(one.stream_url, 280_000));
    // A run that was accepted while the queue was away is enqueued by the reconciler within a minute.
    await until(`${one.run_id} is claimed`, () => workerOf(one.run_id) !== "");
    const [name, victim] = [nameFor(workerOf(one.run_id)), pidFor(workerOf(one.run_id))];
    const isBack = (): boolean => pidFor(name) !== victim && isRunning(pidFor(name));
    process.kill(victim, "SIGKILL");
    await until(`${name} is back`, isBack);
    expect(system.ends(name)).toBe(1);
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
  expect(system.facts.api_base).toBe(before.api_base);
}, 300_000);
