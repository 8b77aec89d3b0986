import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { TenantId } from "../../../shared/contracts/ids.ts";
import { bodyOf, RUN, runPath, startApp, startRun, type TestApp } from "../app.ts";

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.stop());

const status = async (run: string) => bodyOf(await app.call("GET", runPath(run, "status")));
const HOUR = 3_600_000;

describe("a run with a later start", () => {
  test("is queued until its start, has the time in its status, counts as queued, and is not ready before", async () => {
    const run = await startRun(app, { body: { tenant_id: "late", delay_seconds: 3600 } });
    await app.settled();
    const view = await status(run);
    expect(view).toMatchObject({ status: "queued", waiting: { reason: "delay" }, started_at: null });
    const [row] = await app.stores.sql<{ s: number }[]>`
      select extract(epoch from wake_at - queued_at)::float8 as s from runs where run_id = ${run}`;
    expect(row?.s).toBeCloseTo(3600, 3);
    const tenant = TenantId.parse("late");
    expect(await app.stores.queue.tenantStats(tenant)).toMatchObject({ queuedOrReserved: 1 });
    expect(await app.stores.queue.stats(0)).toMatchObject({ ready: 0, due: 1 });
    expect(await bodyOf(await app.call("GET", runPath(run, "why")))).toMatchObject({
      state: "queued",
      reason: "delayed",
      blocked_by: [{ kind: "time" }],
    });
  });

  test("with run_at starts at that time by the clock of the database, and at once when the time has passed", async () => {
    const at = new Date(Date.now() + HOUR).toISOString();
    const run = await startRun(app, { body: { run_at: at.replace("Z", "+00:00") } });
    expect(await status(run)).toMatchObject({ waiting: { reason: "delay", until: at } });
    const past = await startRun(app, { body: { run_at: new Date(Date.now() - HOUR).toISOString() } });
    expect(await status(past)).toMatchObject({ status: "queued", waiting: null });
  });

  test("takes a place in its tenant's queue", async () => {
    await app.call("POST", "/scale/tenants", { body: { tenant_id: "small", max_queued_runs: 1 } });
    await startRun(app, { body: { tenant_id: "small", delay_seconds: 60 } });
    await app.settled();
    const refused = await app.call("POST", RUN, { body: { tenant_id: "small" } });
    expect(await bodyOf(refused)).toMatchObject({ status: 429, code: "queue_full" });
  });

  test.each([
    ["delay_seconds beside run_at", { delay_seconds: 1, run_at: "2026-01-01T00:00:00Z" }, "run_at"],
    ["a negative delay", { delay_seconds: -1 }, "delay_seconds"],
    ["a delay of more than 366 days", { delay_seconds: 367 * 86_400 }, "delay_seconds"],
    ["a time that is more than 366 days away", { run_at: "2999-01-01T00:00:00Z" }, "run_at"],
    ["a time without a zone", { run_at: "2030-01-01T00:00:00" }, "run_at"],
  ])("is refused with %s", async (_what, body, path) => {
    const problem = await bodyOf(await app.call("POST", RUN, { body }));
    expect(problem).toMatchObject({ status: 422, code: "invalid", errors: [{ path }] });
  });

  test("can be cancelled before it starts", async () => {
    const run = await startRun(app, { body: { delay_seconds: 3600 } });
    expect(await bodyOf(await app.call("POST", runPath(run, "cancel")))).toMatchObject({
      status: "cancelled",
    });
  });
});
