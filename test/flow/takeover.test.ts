import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { startFleet } from "./fleet.ts";
import type { Fleet } from "./fleet.ts";
import type { RunId } from "../../shared/contracts/ids.ts";
import type { WorkerProcess } from "../services/worker-process.ts";
import { startStateEdge } from "./state-edge.ts";

let fleet: Fleet;

beforeEach(async () => {
  fleet = await startFleet();
  await fleet.define({
    id: "orch_slow",
    name: "Slow in the middle",
    entry_step_id: "before",
    steps: [
      {
        id: "before",
        name: "Before",
        type: "print",
        print_content: "first",
        output_key: "one",
        next_step_id: "slow",
      },
      {
        id: "slow",
        name: "Slow",
        type: "llm",
        model: "demo/slow",
        prompt_template: "Write about {state.one}",
        output_key: "text",
        next_step_id: "after",
      },
      { id: "after", name: "After", type: "print", print_content: "last", output_key: "two" },
    ],
  });
});
afterEach(() => fleet.close());

async function entries(run: string) {
  return fleet.sql<
    { seq: number; attempt: number; kind: string; step_path: string | null; visit: number | null }[]
  >`
    select seq, attempt, kind, step_path, visit from journal where run_id = ${run} order by seq`;
}

async function untilInStep(run: string, step: string): Promise<void> {
  for (let tries = 0; tries < 500; tries++) {
    const [row] = await fleet.sql`select current_step_id as step, event_seq from runs where run_id = ${run}`;
    if (row?.step === step && row.event_seq > 0) return;
    await sleep(10);
  }
  throw new Error(`${run} never came to ${step}`);
}

/** Starts two workers and a run. @returns the one that has it, in the middle of its slow step */
async function workerInStep(env: Record<string, string> = {}): Promise<{ run: RunId; first: WorkerProcess }> {
  const workers = await Promise.all(["first", "second"].map((id) => fleet.startWorker(id, env)));
  const run = await fleet.run("orch_slow");
  await untilInStep(run, "slow");
  const [row] = await fleet.sql`select worker_id from runs where run_id = ${run}`;
  const first = workers[row?.worker_id === "first" ? 0 : 1];
  if (!first) throw new Error("no such worker");
  return { run, first };
}

// Red when: claim refuses silent owners, or the fold forgets results.
test.each(["Postgres", "the edge"])(
  "another worker finishes the run of a killed one within 20 s, from its last checkpoint, by way of %s",
  async (way) => {
    const edge = way === "the edge" ? await startStateEdge(fleet) : null;
    const { run, first } = await workerInStep(edge?.env);
    const killedMs = performance.now();
    await first.stop("SIGKILL");
    for (;;) {
      const [row] = await fleet.sql`select attempt from runs where run_id = ${run}`;
      if (row?.attempt === 2) break;
      if (performance.now() - killedMs > 20_000)
        throw new Error(
          `nobody took the run over:\n${fleet.workers.flatMap((w) => w.lines.map((l) => JSON.stringify(l))).join("\n")}`,
        );
      await sleep(50);
    }
    const row = await fleet.ended(run, 25_000);
    expect(row).toMatchObject({ status: "completed", attempt: 2, step_count: 3 });
    const results = (await entries(run)).filter((entry) => entry.kind === "step" || entry.kind === "end");
    expect(results.map(({ attempt, step_path, visit }) => [attempt, step_path, visit])).toEqual([
      [1, "before", 1],
      [2, "slow", 1],
      [2, "after", 1],
    ]);
    const types = (await fleet.events(run)).map((event) => event.type);
    expect(types.filter((type) => type === "worker_picked_up")).toHaveLength(2);
    expect(types.filter((type) => type === "orchestration_start")).toHaveLength(1);
    expect(types.filter((type) => type === "step_start")).toHaveLength(3);
    expect(types.filter((type) => type === "done")).toHaveLength(1);
    if (edge) expect(edge.asked()).toBeGreaterThan(10);
    edge?.close();
  },
  60_000,
);

// Red when: `owner` and `attempt` are not in the fence of the flush.
test("a worker that was stopped and comes back writes nothing into a run that was taken over", async () => {
  const { run, first } = await workerInStep();
  first.process.kill("SIGSTOP");
  const row = await fleet.ended(run, 40_000);
  expect(row).toMatchObject({ status: "completed", attempt: 2 });
  const before = await entries(run);
  first.process.kill("SIGCONT");
  await first.heard("run.execution_ended", (line) => line.run === run && line.ending === "dropped");
  expect(await entries(run)).toEqual(before);
}, 60_000);

test("a worker that is told to stop hands its run back, and another has it within a second", async () => {
  const { run, first } = await workerInStep({ WORKER_DRAIN_SECONDS: "0" });
  const second = fleet.workers.find((worker) => worker !== first);
  const askedMs = performance.now();
  void first.stop("SIGTERM");
  await second?.heard("run.claimed", (line) => line.run === run, 3_000);
  expect(performance.now() - askedMs).toBeLessThan(3_500);
  const row = await fleet.ended(run, 25_000);
  expect(row).toMatchObject({ status: "completed", attempt: 2 });
  const [crashes] = await fleet.sql`select crash_count from runs where run_id = ${run}`;
  expect(crashes?.crash_count).toBe(0);
}, 60_000);
