import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { RunId, TenantId, newIncarnation, newRunId } from "../../../shared/contracts/ids.ts";
import { keys } from "../../../shared/keys.ts";
import { claimRuns } from "../../../shared/store/runs/claim.ts";
import { bodyOf, runPath, startApp, startRun, type TestApp } from "../app.ts";
import { Life, failed, journalOf, typesOf } from "../fake-workers.ts";

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.stop());

const Items = z.array(z.object({ run_id: z.string(), status: z.string() }));
const CANCEL = "/api/v2/orchestrations/runs:cancel";
const cancel = (run: string, key?: string) =>
  app.call("POST", runPath(run, "cancel"), key === undefined ? {} : { key });
const statusOf = async (run: string) => (await bodyOf(await app.call("GET", runPath(run, "status")))).status;

describe("a run that waits", () => {
  test("has ended when the cancel answers: its log closes as a worker would close it", async () => {
    const run = await startRun(app);
    await app.settled();
    const answer = await cancel(run);
    expect([answer.status, await answer.json()]).toEqual([200, { status: "cancelled", run_id: run }]);
    expect(await statusOf(run)).toBe("cancelled");
    expect(await typesOf(app.world.sql, run)).toEqual(["orchestration_complete", "final", "done"]);
    const result = await bodyOf(await app.call("GET", runPath(run, "result")));
    expect(result).toMatchObject({
      status: "cancelled",
      final_state: { user_input: "hi", user_query: "hi" },
    });
    const stream = await app.call("GET", runPath(run, "stream"));
    expect(await stream.text()).toContain('"type":"done"');
  });

  // Red when: `finish` is left out.
  test("leaves the queue", async () => {
    const tenant = TenantId.parse("leaving");
    const run = await startRun(app, { body: { tenant_id: tenant } });
    await app.settled();
    expect(await app.world.queue.tenantStats(tenant)).toEqual({ active: 0, queuedOrReserved: 1 });
    await cancel(run);
    await app.settled();
    expect(await app.world.queue.tenantStats(tenant)).toEqual({ active: 0, queuedOrReserved: 0 });
  });

  test("keeps what it has come to: the final state holds its results", async () => {
    const life = await Life.begin(app.world.sql, await startRun(app));
    await life.step("one", "a", "1", "two");
    await life.park("two", 60_000);
    expect(await bodyOf(await cancel(life.run))).toMatchObject({ status: "cancelled" });
    const last = (await journalOf(app.world.sql, life.run)).at(-1);
    const [complete, final] = (last?.events.split("\n") ?? []).map((line) => JSON.parse(line));
    expect(complete).toMatchObject({ status: "cancelled", final_state: { a: "1", user_input: "hi" } });
    expect(final.data.step_history).toMatchObject([{ step_id: "one", status: "completed" }]);
  });

  test("shows its end to those who watch live", async () => {
    const run = await startRun(app);
    await cancel(run);
    await app.settled();
    const entries = await app.world.redis.xrange(keys.live(0), "-", "+");
    const mine = entries.map(([, fields]) => fields).find((fields) => fields[1] === run);
    expect(mine).toEqual(["r", run, "s", "3", "n", "3", "e", expect.stringContaining('"done"'), "l", "1"]);
  });
});

describe("a run that is executed", () => {
  test("is marked, its worker told, and goes on until the worker ends it", async () => {
    const life = await Life.begin(app.world.sql, await startRun(app));
    const heard: string[] = [];
    const ears = app.world.redis.duplicate();
    ears.on("message", (channel: string) => heard.push(channel));
    await ears.subscribe(keys.control(life.owner));
    const answer = await cancel(life.run);
    expect(await answer.json()).toEqual({ status: "cancellation_requested", run_id: life.run });
    await app.settled();
    await expect.poll(() => heard).toEqual([keys.control(life.owner)]);
    ears.disconnect();
    const [row] = await app.world.sql`
      select status, signals, cancel_requested_at is not null as asked from runs where run_id = ${life.run}`;
    expect(row).toEqual({ status: "running", signals: 1, asked: true });
    expect(await life.step("one", "a", "1", "two").then(() => life.end("cancelled"))).toMatchObject({
      cancel: true,
    });
    expect(await statusOf(life.run)).toBe("cancelled");
  });
});

test("a run that has ended is 409 run_finished, one that is not there or another's is 404", async () => {
  const done = await failed(app.world.sql, await startRun(app));
  const answer = await cancel(done.run);
  expect([answer.status, (await bodyOf(answer)).code]).toEqual([409, "run_finished"]);
  expect((await cancel(newRunId(Date.now()))).status).toBe(404);
  expect((await cancel("nonsense")).status).toBe(404);
  const run = await startRun(app, { body: { tenant_id: "mine" } });
  expect((await cancel(run, await app.world.key("theirs"))).status).toBe(404);
  expect((await cancel(run, await app.world.key("mine", ["runs:read"]))).status).toBe(403);
  expect((await cancel(run, await app.world.key("mine", ["runs:write"]))).status).toBe(200);
});

describe("a cancel and a worker at the same moment", () => {
  // Red when: the cancel does not ask for the number that it has read, or for the status.
  test("give every run exactly one end", async () => {
    const { sql } = app.world;
    const runs = await Promise.all(Array.from({ length: 60 }, () => startRun(app)));
    const outcomes = await Promise.all(
      runs.map(async (run, i) => {
        // A third is claimed first, a third at the same moment, a third is just about to end.
        const before = i % 3 === 1 ? null : await Life.begin(sql, run);
        const worker = async () => {
          if (before) return i % 3 === 0 ? before.step("one", "a", "1", null) : before.end("completed");
          return claimRuns(sql, newIncarnation("w"), [RunId.parse(run)]);
        };
        const [answer] = await Promise.all([cancel(run), worker()]);
        return (await bodyOf(answer)).status ?? answer.status;
      }),
    );
    for (const [i, run] of runs.entries()) {
      const ends = (await journalOf(sql, run)).filter((entry) => entry.kind === "end");
      const [row] =
        await sql`select status, cancel_requested_at is not null as asked from runs where run_id = ${run}`;
      const seen = [outcomes[i], row?.status, row?.asked, ends.length];
      expect([
        ["cancelled", "cancelled", true, 1],
        ["cancellation_requested", "running", true, 0],
        ["cancellation_requested", "completed", true, 1],
        [409, "completed", false, 1],
      ]).toContainEqual(seen);
    }
  });
});

describe("a cancel of many", () => {
  test("counts first, then cancels those that the filter means, with an answer for each", async () => {
    const tenant_id = "many";
    const runs = await Promise.all([1, 2, 3].map(() => startRun(app, { body: { tenant_id } })));
    const other = await startRun(app, { body: { tenant_id: "other" } });
    const executed = await Life.begin(app.world.sql, runs[0] ?? "");
    const dry = await app.call("POST", CANCEL, { body: { tenant_id, dry_run: true } });
    expect(await dry.json()).toEqual({ dry_run: true, matched: 3, results: [], next_cursor: null });
    expect(await statusOf(runs[1] ?? "")).toBe("queued");
    const answer = await bodyOf(await app.call("POST", CANCEL, { body: { tenant_id } }));
    expect(answer).toMatchObject({ dry_run: false, matched: 3, next_cursor: null });
    const results = Items.parse(answer.results);
    expect(Object.fromEntries(results.map(({ run_id, status }) => [run_id, status]))).toEqual({
      [executed.run]: "cancellation_requested",
      [runs[1] ?? ""]: "cancelled",
      [runs[2] ?? ""]: "cancelled",
    });
    expect(await statusOf(other)).toBe("queued");
  });

  test("goes page by page", async () => {
    const tenant_id = "pages";
    await Promise.all(Array.from({ length: 5 }, () => startRun(app, { body: { tenant_id } })));
    const seen: unknown[] = [];
    let cursor = "";
    do {
      const page = await bodyOf(await app.call("POST", CANCEL, { body: { tenant_id, limit: 2, cursor } }));
      seen.push(page.matched);
      cursor = z.string().nullable().parse(page.next_cursor) ?? "";
    } while (cursor !== "");
    expect(seen).toEqual([2, 2, 1]);
  });

  test("reaches no other tenant, and names none", async () => {
    const run = await startRun(app, { body: { tenant_id: "victim" } });
    const key = await app.world.key("attacker");
    expect((await app.call("POST", CANCEL, { key, body: { tenant_id: "victim" } })).status).toBe(403);
    expect(await bodyOf(await app.call("POST", CANCEL, { key, body: {} }))).toMatchObject({ matched: 0 });
    expect(await statusOf(run)).toBe("queued");
    expect((await app.call("POST", CANCEL, { body: { status: ["completed"] } })).status).toBe(422);
  });
});
