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
