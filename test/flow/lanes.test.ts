import { afterAll, beforeAll, expect, test } from "vitest";
import { bodyOf, runPath } from "../edge/app.ts";
import { startApi, untilEnd } from "./api.ts";
import type { FlowApi } from "./api.ts";

let api: FlowApi;
beforeAll(async () => {
  api = await startApi();
});
afterAll(() => api.stop());

// Fails when a beat does not carry the lanes that the worker was started with.
test("the diagnosis of a run names its lane when no worker serves it, and the run starts when such a worker starts", async () => {
  await api.startWorker("elsewhere", { WORKER_LANES: "bulk, mail" });
  const run = await api.start("orch_smoke", { message: "hi" });
  const why = await bodyOf(await api.call("GET", runPath(run, "why")));
  expect(why).toMatchObject({
    state: "queued",
    reason: "no_worker",
    sentence: expect.stringContaining(
      "No live worker serves lane default; the one live worker serves other lanes.",
    ),
  });
  await api.startWorker("here", { WORKER_LANES: "default" });
  expect(await untilEnd(api, run)).toBe("completed");
});

// Fails when a running worker does not get the settings of lanes, or takes a lane's runs beyond its slots.
test("a change of a lane acts on a running worker: of three runs in a lane with one slot, one executes at a time", async () => {
  for (const other of api.workers) await other.stop("SIGTERM");
  const worker = await api.startWorker("bulk", { WORKER_LANES: "bulk, interactive" });
  const slow = { id: "slow", type: "llm", model: "demo/slow", prompt_template: "Write about 10 words" };
  await api.define("orchestrations", "slow", { name: "Slow", entry_step_id: "slow", steps: [slow] });
  const answer = await api.call("PATCH", "/scale/queue/bulk", { body: { slots: 1 } });
  expect(answer.status).toBe(200);
  await worker.untilLogged("lanes.changed");
  const runs = await Promise.all([1, 2, 3].map(() => api.start("slow", { lane: "bulk" })));
  for (const run of runs) expect(await untilEnd(api, run)).toBe("completed");
  const overlapping = await api.stores.sql`
    select a.run_id from runs a join runs b on a.run_id <> b.run_id and a.started_at <= b.started_at and a.ended_at > b.started_at
    where a.lane = 'bulk' and b.lane = 'bulk'`;
  expect(overlapping).toHaveLength(0);
});

// Fails when a run whose worker died is claimed before the backoff, or never.
test("a run whose worker was killed waits for its lane's backoff, and then ends in another worker", async () => {
  const answer = await api.call("PATCH", "/scale/queue/interactive", { body: { first_backoff_seconds: 3 } });
  expect(answer.status).toBe(200);
  const killed = await api.startWorker("killed", { WORKER_LANES: "interactive" });
  for (const worker of api.workers.filter((each) => each !== killed)) await worker.stop("SIGTERM");
  const slow = { id: "slow", type: "llm", model: "demo/slow", prompt_template: "Write about 40 words" };
  await api.define("orchestrations", "slower", { name: "Slow", entry_step_id: "slow", steps: [slow] });
  const run = await api.start("slower", { lane: "interactive" });
  await api.until(run, ["running"]);
  await killed.stop("SIGKILL");
  const heir = await api.startWorker("heir", { WORKER_LANES: "interactive" });
  expect(await untilEnd(api, run)).toBe("completed");
  expect(heir.lines).toContainEqual(
    expect.objectContaining({ event: "run.handed_back", run, reason: "crash" }),
  );
});
