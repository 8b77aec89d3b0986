import { afterAll, beforeAll, expect, test } from "vitest";
import { bodyOf } from "../edge/app.ts";
import { startApi, untilEnd } from "./api.ts";
import type { FlowApi } from "./api.ts";

let api: FlowApi;
beforeAll(async () => {
  api = await startApi();
});
afterAll(() => api.stop());

test("a worker reports its health through Redis, and ends after an operator's drain request; another worker executes the next run", async () => {
  const leaver = await api.startWorker("leaver");
  const answer = await bodyOf(await api.call("GET", "/scale/workers/leaver/health"));
  expect(answer).toMatchObject({
    status: "ok",
    worker_id: "leaver",
    data: {
      status: "ok",
      worker_id: "leaver",
      pg_connected: true,
      redis_connected: true,
      s3_connected: null,
    },
  });
  const listed = await (await api.call("GET", "/scale/workers")).json();
  expect(listed).toMatchObject([{ worker_id: "leaver", pid: leaver.pid, status: "online" }]);

  await api.startWorker("stayer");
  expect((await api.call("POST", "/scale/workers/leaver/drain")).status).toBe(202);
  await leaver.untilLogged("worker.stopped");
  // No signal was sent: the worker ends by itself, with the exit code of success.
  const code = await new Promise<number | null>((resolve) => {
    if (leaver.process.exitCode !== null) resolve(leaver.process.exitCode);
    else leaver.process.once("exit", resolve);
  });
  expect(code).toBe(0);
  // The worker's row is offline at once, because it ended in order, and can be removed.
  const left = await (await api.call("GET", "/scale/workers")).json();
  expect(left).toContainEqual(
    expect.objectContaining({ worker_id: "leaver", status: "offline", active_jobs: 0 }),
  );
  expect((await api.call("DELETE", "/scale/workers/leaver")).status).toBe(200);
  expect(await untilEnd(api, await api.start("orch_smoke", { message: "hi" }))).toBe("completed");
});
