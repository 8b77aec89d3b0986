import { afterAll, beforeAll, expect, test } from "vitest";
import { bodyOf, runPath } from "../edge/app.ts";
import { startApi, untilEnd } from "./api.ts";
import type { FlowApi } from "./api.ts";

let api: FlowApi;
beforeAll(async () => {
  api = await startApi();
  await api.define("orchestrations", "spends", {
    name: "spends",
    entry_step_id: "a",
    steps: [
      {
        id: "a",
        type: "llm",
        model: "demo/fast",
        prompt_template: "Write about 2000 words",
        output_key: "text",
      },
    ],
  });
  await Promise.all([api.startWorker("a"), api.startWorker("b")]);
});
afterAll(() => api.stop());

const put = (limit_usd: number) =>
  api.call("PUT", "/scale/budgets/month", { body: { scope: "tenant", limit_usd, at_limit: "pause" } });
const money = async () => {
  const [budget] = JSON.parse(await (await api.call("GET", "/scale/budgets")).text());
  return budget;
};

// Fails when two workers spend the same money, when a run at the limit does not park, or when a raise does not wake it.
test("runs of two workers spend no more than their budget, wait at its limit, and go on when it is raised", async () => {
  const limit = 0.03;
  await put(limit);
  const runs = await Promise.all(Array.from({ length: 12 }, () => api.start("spends")));
  const statuses = await Promise.all(runs.map((run) => api.until(run, ["completed", "paused"])));
  const completed = statuses.filter((status) => status === "completed").length;
  const before = await money();
  // A call costs about 0.005 USD, and its worst case is 0.008.
  expect(completed).toBeGreaterThan(2);
  expect(completed).toBeLessThan(7);
  expect(before).toMatchObject({ reserved_usd: 0 });
  expect(before.spent_usd).toBeLessThanOrEqual(limit);

  await put(1);
  expect(new Set(await Promise.all(runs.map((run) => untilEnd(api, run))))).toEqual(new Set(["completed"]));
  const results = await Promise.all(
    runs.map(async (run) => bodyOf(await api.call("GET", runPath(run, "result")))),
  );
  const costs = results.map(({ total_cost_usd }) => Number(total_cost_usd));
  const after = await money();
  expect(after.spent_usd).toBeCloseTo(
    costs.reduce((sum, cost) => sum + cost, 0),
    6,
  );
  expect(after.reserved_usd).toBe(0);
});

// Fails when each child may spend all that is left of its parent's limit: then all five make their call.
test("five children at once pass the money limit of their parent by one call at most", async () => {
  const limit = 0.012;
  const ids = ["a", "b", "c", "d", "e"];
  await api.define("orchestrations", "family", {
    name: "family",
    entry_step_id: "all",
    max_total_cost_usd: limit,
    steps: [
      { id: "all", type: "parallel", parallel_branches: ids.map((id) => [id]) },
      ...ids.map((id) => ({
        id,
        type: "orchestration",
        orchestration_id: "spends",
        output_key: id,
        on_child_error: "continue",
      })),
    ],
  });
  const run = await api.start("family");
  await untilEnd(api, run);
  const [spent] = await api.stores.sql<{ calls: number; usd: number }[]>`
    select count(*)::int as calls, sum(cost_micro_usd)::float8 / 1e6 as usd from usage
    where provider <> 'child_run' and run_id in (select run_id from runs where parent_run_id = ${run})`;
  // A call costs about 0.005 USD, its worst case is 0.008 and the limit 0.012. So one call is admitted beside others, and each
  // next one when it is alone, until the limit is used up: two calls at least, three at most.
  expect(spent?.calls).toBeGreaterThanOrEqual(2);
  expect(spent?.calls).toBeLessThanOrEqual(3);
  expect(spent?.usd).toBeLessThanOrEqual(limit + 0.008);
  // A call beyond the limit fails its child. Where the limit is used up before the last children are started, their parent fails.
  const errors = await api.stores.sql<{ error: string }[]>`
    select error from runs where ${run} in (run_id, parent_run_id) and status = 'failed'`;
  expect(errors.length).toBeGreaterThanOrEqual(1);
  for (const { error } of errors) expect(error).toContain("max_total_cost");
});
