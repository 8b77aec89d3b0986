import { describe, expect } from "vitest";
import type { RunId } from "../../shared/contracts/ids.ts";
import type { JsonObject } from "../../shared/contracts/json.ts";
import { until } from "../services/waiting.ts";
import type { WorkerProcess } from "../services/worker-process.ts";
import { fleetTest as test } from "./fleet.ts";
import type { Fleet } from "./fleet.ts";
import { startStateEdge } from "./state-edge.ts";

const slowInTheMiddle: JsonObject & { id: string } = {
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
      prompt_template: "Write about 100 words on {state.one}", // takes seven seconds
      output_key: "text",
      next_step_id: "after",
    },
    { id: "after", name: "After", type: "print", print_content: "last", output_key: "two" },
  ],
};

async function entries({ sql }: Fleet, run: string) {
  return sql<
    { seq: number; attempt: number; kind: string; step_path: string | null; visit: number | null }[]
  >`
    select seq, attempt, kind, step_path, visit from journal where run_id = ${run} order by seq`;
}

/** Starts two workers and a run, and waits until the run is in its slow step. @returns `first`: the worker that executes it */
async function workerInStep(
  fleet: Fleet,
  env: Record<string, string> = {},
): Promise<{ run: RunId; first: WorkerProcess; second: WorkerProcess }> {
  await fleet.define(slowInTheMiddle);
  const [a, b] = await Promise.all([fleet.startWorker("a", env), fleet.startWorker("b", env)]);
  const run = await fleet.run("orch_slow");
  let owner: unknown;
  await until(`${run} is in its slow step`, async () => {
    const [row] =
      await fleet.sql`select current_step_id, event_seq, worker_id from runs where run_id = ${run}`;
    owner = row?.worker_id;
    return row?.current_step_id === "slow" && row.event_seq > 0;
  });
  return owner === "a" ? { run, first: a, second: b } : { run, first: b, second: a };
}

/**
 * Kills the worker of a run, and expects that the other one continues it by the lapsed lease. The number in the promise,
 * 6 s, does not depend on this machine in test/simulation/takeover.test.ts, which has a virtual clock;
 * `npm run bench:takeover` measures it. Here no worker reports the next repair, which needs 30 s of observation.
 */
async function expectTakeover(fleet: Fleet, env?: Record<string, string>): Promise<void> {
  const { run, first } = await workerInStep(fleet, env);
  await first.stop("SIGKILL");
  expect(await fleet.ended(run)).toMatchObject({ status: "completed", attempt: 2, step_count: 3 });
  expect(fleet.logs()).not.toMatch(/reconciler\.(owner_silent|run_overdue)/);
  const results = (await entries(fleet, run)).filter(({ kind }) => kind === "step" || kind === "end");
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
}

const testWithRealTiming = test.extend({ timing: "real" });

describe.concurrent("a run in the middle of a step", () => {
  // Fails when claim refuses runs of silent owners, or the fold forgets results.
  test("is taken over from a killed worker at its last checkpoint", async ({ fleet }) => {
    await expectTakeover(fleet);
  });

  // The edge's statements have the real times too.
  testWithRealTiming(
    "is taken over also with the product's own times, by workers that reach Postgres through the edge",
    async ({ fleet }) => {
      const edge = await startStateEdge(fleet);
      await expectTakeover(fleet, edge.env);
      expect(edge.requests()).toBeGreaterThan(10);
      edge.close();
    },
  );

  // Fails when `owner` and `attempt` are not in the fence of the flush.
  test("gets no entry from a worker that was stopped and continues after the takeover", async ({ fleet }) => {
    const { run, first } = await workerInStep(fleet);
    first.process.kill("SIGSTOP");
    expect(await fleet.ended(run)).toMatchObject({ status: "completed", attempt: 2 });
    const before = await entries(fleet, run);
    first.process.kill("SIGCONT");
    await first.untilLogged("run.execution_ended", (line) => line.run === run && line.ending === "dropped");
    expect(await entries(fleet, run)).toEqual(before);
  });

  // Fails when a drain does not hand back: the run would be taken over after its lease, and count as a crash.
  test("is handed back by a worker that drains, and goes on at once", async ({ fleet }) => {
    const { run, first, second } = await workerInStep(fleet, { WORKER_DRAIN_SECONDS: "0" });
    void first.stop("SIGTERM");
    await second.untilLogged("run.claimed", (line) => line.run === run);
    expect(await fleet.ended(run)).toMatchObject({ status: "completed", attempt: 2 });
    const [row] = await fleet.sql`select crash_count from runs where run_id = ${run}`;
    expect(row?.crash_count).toBe(0);
  });
});
