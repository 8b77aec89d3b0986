import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { EXAMINED_FOR_METADATA } from "../../../shared/store/runs/run-filter.ts";
import { RunId, TenantId, newIncarnation, newRunId } from "../../../shared/contracts/ids.ts";
import { keys } from "../../../shared/keys.ts";
import { claimRuns } from "../../../shared/store/runs/claim-runs.ts";
import { bodyOf, runPath, startApp, startRun, type TestApp } from "../app.ts";
import { FakeWorker, failRun, journalOf, eventTypesOf } from "../fake-workers.ts";

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

describe("the cancel of a queued or paused run", () => {
  test("has ended the run when it responds, with the same last events as a worker commits", async () => {
    const run = await startRun(app);
    await app.settled();
    const answer = await cancel(run);
    expect([answer.status, await answer.json()]).toEqual([200, { status: "cancelled", run_id: run }]);
    expect(await statusOf(run)).toBe("cancelled");
    expect(await eventTypesOf(app.stores.sql, run)).toEqual(["orchestration_complete", "final", "done"]);
    const result = await bodyOf(await app.call("GET", runPath(run, "result")));
    expect(result).toMatchObject({
      status: "cancelled",
      final_state: { user_input: "hi", user_query: "hi" },
    });
    const stream = await app.call("GET", runPath(run, "stream"));
    expect(await stream.text()).toContain('"type":"done"');
  });

  // Fails when `finish` is left out.
  test("removes its job from the queue", async () => {
    const tenant = TenantId.parse("leaving");
    const run = await startRun(app, { body: { tenant_id: tenant } });
    await app.settled();
    expect(await app.stores.queue.tenantStats(tenant)).toEqual({ active: 0, queuedOrReserved: 1 });
    await cancel(run);
    await app.settled();
    expect(await app.stores.queue.tenantStats(tenant)).toEqual({ active: 0, queuedOrReserved: 0 });
  });

  test("keeps the results of the run in its final state", async () => {
    const worker = await FakeWorker.claim(app.stores.sql, await startRun(app));
    await worker.step("one", "a", "1", "two");
    await worker.park("two", 60_000);
    expect(await bodyOf(await cancel(worker.run))).toMatchObject({ status: "cancelled" });
    const last = (await journalOf(app.stores.sql, worker.run)).at(-1);
    const [complete, final] = (last?.events.split("\n") ?? []).map((line) => JSON.parse(line));
    expect(complete).toMatchObject({ status: "cancelled", final_state: { a: "1", user_input: "hi" } });
    expect(final.data.step_history).toMatchObject([{ step_id: "one", status: "completed" }]);
  });

  test("publishes the end to live viewers", async () => {
    const run = await startRun(app);
    await cancel(run);
    await app.settled();
    const entries = await app.stores.redis.xrange(keys.live(0), "-", "+");
    const entry = entries.map(([, fields]) => fields).find((fields) => fields[1] === run);
    expect(entry).toEqual(["r", run, "s", "3", "n", "3", "e", expect.stringContaining('"done"'), "l", "1"]);
  });
});

describe("the cancel of a large run that waits", () => {
  // Fails when the edge writes a last entry of any size: the states of a few such runs need more memory than an edge has.
  test("is left to the next worker that claims it, which may claim it at once", async () => {
    const first = await FakeWorker.claim(app.stores.sql, await startRun(app));
    await first.step("one", "a", "x".repeat(300_000), "two");
    await first.park("two", 600_000);
    expect(await bodyOf(await cancel(first.run))).toMatchObject({ status: "cancellation_requested" });
    const [row] = await app.stores.sql`
      select status, signals, wake_at <= now() as due, cancel_requested_at is not null as requested
      from runs where run_id = ${first.run}`;
    expect(row).toEqual({ status: "queued", signals: 1, due: true, requested: true });
    const second = await FakeWorker.claim(app.stores.sql, first.run);
    expect(second.claimedRun).toMatchObject({ cancel: true, attempt: 2 });
  });
});

describe("the cancel of a running run", () => {
  test("marks the run and notifies its worker, and the run continues until the worker ends it", async () => {
    const worker = await FakeWorker.claim(app.stores.sql, await startRun(app));
    const channels: string[] = [];
    const subscriber = app.stores.redis.duplicate();
    subscriber.on("message", (channel: string) => channels.push(channel));
    await subscriber.subscribe(keys.control(worker.owner));
    const answer = await cancel(worker.run);
    expect(await answer.json()).toEqual({ status: "cancellation_requested", run_id: worker.run });
    await app.settled();
    await expect.poll(() => channels).toEqual([keys.control(worker.owner)]);
    subscriber.disconnect();
    const [row] = await app.stores.sql`
      select status, signals, cancel_requested_at is not null as requested from runs where run_id = ${worker.run}`;
    expect(row).toEqual({ status: "running", signals: 1, requested: true });
    expect(await worker.step("one", "a", "1", "two").then(() => worker.end("cancelled"))).toMatchObject({
      cancel: true,
    });
    expect(await statusOf(worker.run)).toBe("cancelled");
  });
});

test("the cancel of an ended run is 409 run_finished, of an unknown run or another tenant's run 404", async () => {
  const done = await failRun(app.stores.sql, await startRun(app));
  const answer = await cancel(done.run);
  expect([answer.status, (await bodyOf(answer)).code]).toEqual([409, "run_finished"]);
  expect((await cancel(newRunId(Date.now()))).status).toBe(404);
  expect((await cancel("nonsense")).status).toBe(404);
  const run = await startRun(app, { body: { tenant_id: "owner" } });
  expect((await cancel(run, await app.stores.key("stranger"))).status).toBe(404);
  expect((await cancel(run, await app.stores.key("owner", ["runs:read"]))).status).toBe(403);
  expect((await cancel(run, await app.stores.key("owner", ["runs:write"]))).status).toBe(200);
});

describe("a cancel and a worker's write at the same moment", () => {
  // Fails when the cancel does not check the event number that it has read, or the status.
  test("give every run exactly one end", async () => {
    const { sql } = app.stores;
    const runs = await Promise.all(Array.from({ length: 60 }, () => startRun(app)));
    const outcomes = await Promise.all(
      runs.map(async (run, i) => {
        // A third of the runs are claimed before the cancel, a third at the same moment, and a third are about to end.
        const before = i % 3 === 1 ? null : await FakeWorker.claim(sql, run);
        const write = async () => {
          if (before) return i % 3 === 0 ? before.step("one", "a", "1", null) : before.end("completed");
          return claimRuns(sql, newIncarnation("w"), [RunId.parse(run)]);
        };
        const [answer] = await Promise.all([cancel(run), write()]);
        return (await bodyOf(answer)).status ?? answer.status;
      }),
    );
    for (const [i, run] of runs.entries()) {
      const ends = (await journalOf(sql, run)).filter((entry) => entry.kind === "end");
      const [row] =
        await sql`select status, cancel_requested_at is not null as requested from runs where run_id = ${run}`;
      const seen = [outcomes[i], row?.status, row?.requested, ends.length];
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
  test("counts in a dry run, then cancels the runs that match the filter, with a result for each", async () => {
    const tenant_id = "many";
    const runs = await Promise.all([1, 2, 3].map(() => startRun(app, { body: { tenant_id } })));
    const other = await startRun(app, { body: { tenant_id: "other" } });
    const executed = await FakeWorker.claim(app.stores.sql, runs[0] ?? "");
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

  test("is paged", async () => {
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

  test("reaches no run of another tenant", async () => {
    const run = await startRun(app, { body: { tenant_id: "victim" } });
    const key = await app.stores.key("attacker");
    expect((await app.call("POST", CANCEL, { key, body: { tenant_id: "victim" } })).status).toBe(403);
    expect(await bodyOf(await app.call("POST", CANCEL, { key, body: { all: true } }))).toMatchObject({
      matched: 0,
    });
    expect(await statusOf(run)).toBe("queued");
    expect((await app.call("POST", CANCEL, { body: { all: true, status: ["completed"] } })).status).toBe(422);
  });

  // Fails when an entry of an inner object counts, or when a filter that a client left empty selects all runs.
  test("selects runs by entries of their metadata, the same ones in a dry run", async () => {
    const tenant_id = "by-metadata";
    const start = (metadata: object) => startRun(app, { body: { tenant_id, metadata } });
    const meant = [
      await start({ customer: 7, eu: true, path: "C:\\udata" }),
      await start({ eu: true, customer: "7" }),
    ];
    const others = [
      await start({ customer: 77, eu: true }),
      await start({ customer: 7 }),
      await start({ eu: true, order: { customer: 7 } }),
      await start({ eu: true, customer: { customer: 7 } }),
      await start({ eu: true, customer: null }),
      await start({ eu: true, customer: 7, odd: "a\u0000" }),
      await start({ eu: true, customer: 7, odd: "\ud83d" }),
      await start({ eu: true, customer: 7, odd: "\ude00" }),
    ];
    const body = { tenant_id, metadata: { customer: 7, eu: true } };
    const dry = await app.call("POST", CANCEL, { body: { ...body, dry_run: true } });
    expect(await bodyOf(dry)).toMatchObject({ matched: 2 });
    const { results, next_cursor } = await bodyOf(await app.call("POST", CANCEL, { body }));
    expect([Items.parse(results).map((item) => item.run_id), next_cursor]).toEqual([meant.toSorted(), null]);
    for (const other of others) expect(await statusOf(other)).toBe("queued");
    for (const metadata of [
      {},
      { customer: null },
      { customer: { a: 1 } },
      { a: 1, b: 1, c: 1, d: 1, e: 1, f: 1 },
    ])
      expect((await app.call("POST", CANCEL, { body: { tenant_id, metadata } })).status).toBe(422);
  });

  // Fails when a request examines all runs of its tenant, or when a page without a match ends the list.
  test("examines a bounded number of runs for metadata, and goes on from there", async () => {
    const tenant_id = "long-list";
    const run = await startRun(app, { body: { tenant_id, metadata: { customer: 7 } } });
    await app.stores.sql`
      insert into runs (run_id, tenant_id, orchestration_id, definition_tenant, definition_version, status, wake_at, deadline_at, correlation_id, input)
      select 'run_000000000000_' || 1780000000000 + i, ${tenant_id}, 'orch', '', 1, 'queued', now() + interval '1 hour', now() + interval '2 hours', 'c', '{}'
      from generate_series(1, ${EXAMINED_FOR_METADATA}) i`;
    const body = { tenant_id, metadata: { customer: 7 } };
    const first = await bodyOf(await app.call("POST", CANCEL, { body }));
    expect(first).toMatchObject({
      matched: 0,
      next_cursor: `run_000000000000_${1_780_000_000_000 + EXAMINED_FOR_METADATA}`,
    });
    const second = await bodyOf(
      await app.call("POST", CANCEL, { body: { ...body, cursor: first.next_cursor } }),
    );
    expect(second).toMatchObject({ results: [{ run_id: run, status: "cancelled" }], next_cursor: null });
  });
});
