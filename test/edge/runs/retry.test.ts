import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { TenantId, newRunId } from "../../../shared/contracts/ids.ts";
import { fold } from "../../../shared/journal/fold.ts";
import { pagesOf } from "../../../shared/store/journal/read-journal.ts";
import { viewerPage } from "../../services/journal-pages.ts";
import { readPositions } from "../../../shared/store/runs/read-runs.ts";
import { Relay } from "../../../edge/streaming/relay.ts";
import { Viewer } from "../../services/viewer.ts";
import { bodyOf, runPath, startApp, startRun, type TestApp } from "../app.ts";
import { FakeWorker, failRun, journalOf, eventTypesOf } from "../fake-workers.ts";

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.stop());

const retry = (run: string, body?: unknown, key?: string) =>
  app.call("POST", runPath(run, "retry"), { ...(body !== undefined && { body }), ...(key && { key }) });
const newRun = async (tenant_id = "default") => startRun(app, { body: { message: "hi", tenant_id } });
const progressOf = async (run: string) => {
  const worker = await FakeWorker.claim(app.stores.sql, run);
  return fold({}, pagesOf(app.stores.sql, worker.run, worker.claimedRun.event_seq));
};

test("a retried run continues from its last result, in the same log, to a new `done`", async () => {
  const { sql, queue } = app.stores;
  const tenant = TenantId.parse("retried");
  const first = await failRun(sql, await newRun(tenant));
  await app.settled();
  await queue.finish([{ run: first.run, tenant }], "");
  const answer = await retry(first.run);
  expect([answer.status, await answer.json()]).toEqual([
    202,
    {
      run_id: first.run,
      status: "queued",
      stream_url: runPath(first.run, "stream"),
      status_url: runPath(first.run, "status"),
    },
  ]);
  await app.settled();
  expect(await queue.tenantStats(tenant)).toEqual({ active: 0, queuedOrReserved: 1 });
  const status = await bodyOf(await app.call("GET", runPath(first.run, "status")));
  expect(status).toMatchObject({
    status: "queued",
    error: null,
    ended_at: null,
    started_at: null,
    attempt: 1,
  });
  const [letter] = await sql`select resolved_at from dead_letters where run_id = ${first.run}`;
  expect(letter?.resolved_at).not.toBe(null);

  const second = await FakeWorker.claim(sql, first.run);
  expect(second.claimedRun).toMatchObject({ attempt: 2, crash_count: 0, cancel: false });
  const progress = await fold({}, pagesOf(sql, second.run, second.claimedRun.event_seq));
  expect([progress.state, progress.next, progress.end]).toEqual([{ a: "1" }, "two", null]);
  await second.end("completed");
  expect(await eventTypesOf(sql, second.run)).toEqual([
    "step_complete",
    "orchestration_complete",
    "done",
    "run_retried",
    "orchestration_complete",
    "done",
  ]);
  const seqs = (await journalOf(sql, second.run)).map((entry) => entry.seq);
  expect(seqs).toEqual([1, 3, 4, 6]);
  // A viewer that had read up to the first `done` gets the rest, and after that 204.
  const base = second.run.slice(-13);
  const from = (n: number) =>
    app.call("GET", runPath(second.run, "stream"), { headers: { "last-event-id": `${base}-${n}` } });
  const rest = await (await from(3)).text();
  expect(rest.match(/^id: .*$/gm)).toEqual([4, 5, 6].map((n) => `id: ${base}-${n}`));
  expect((await from(6)).status).toBe(204);
});

// Fails when the time of the first life counts: a run that is retried an hour later would reach its limit at once.
test("a retried run has its whole time limit again", async () => {
  const { sql } = app.stores;
  const { run } = await failRun(sql, await newRun());
  await sql`update runs set started_at = now() - interval '1 day' where run_id = ${run}`;
  await retry(run);
  expect((await FakeWorker.claim(sql, run)).claimedRun.running_for_ms).toBeLessThan(3_600_000);
});

describe("from_step_id", () => {
  const looped = async () => {
    const worker = await FakeWorker.claim(app.stores.sql, await newRun());
    await worker.step("one", "a", "1", "two");
    await worker.step("two", "b", "first", "one");
    await worker.step("one", "a", "2", "two", 2);
    await worker.write({
      kind: "turn",
      output: JSON.stringify({ step: "two", visit: 2, data: { said: "half" } }),
    });
    await worker.step("two", "b", "second", "one", 2);
    await worker.end("failed");
    return worker.run;
  };

  // Fails when the turns of the repeated visit are kept, or the step's first visit is repeated.
  test("repeats the step's latest visit from its beginning", async () => {
    const run = await looped();
    expect((await retry(run, { from_step_id: "two" })).status).toBe(202);
    expect(await progressOf(run)).toMatchObject({ state: { a: "2", b: "first" }, next: "two", turns: [] });
    const event =
      (await journalOf(app.stores.sql, run)).find((entry) => entry.kind === "rewind")?.events ?? "";
    expect(JSON.parse(event)).toMatchObject({ type: "run_retried", from_step_id: "two" });
  });

  test("ignores the entries that an earlier retry discarded", async () => {
    const run = await looped();
    await retry(run, { from_step_id: "one" });
    expect(await progressOf(run)).toMatchObject({ state: { a: "1", b: "first" }, next: "one" });
    await app.stores.sql`
      update runs set status = 'failed', ended_at = now(), owner = null, wake_at = null where run_id = ${run}`;
    expect((await retry(run, { from_step_id: "two" })).status).toBe(202);
    expect(await progressOf(run)).toMatchObject({ state: { a: "1" }, next: "two" });
  });

  test("may name the step that failed, and no other step without a result", async () => {
    const worker = await failRun(app.stores.sql, await newRun());
    for (const [step, message] of [
      ["nowhere", "is no step of the version that this run is pinned to"],
      ["not/a step", "must be 1 to 255 letters, digits or . _ - and begin with a letter or digit"],
    ]) {
      const answer = await retry(worker.run, { from_step_id: step });
      expect(answer.status).toBe(422);
      expect(await bodyOf(answer)).toMatchObject({
        code: "invalid",
        errors: [{ path: "from_step_id", message }],
      });
    }
    expect((await retry(worker.run, { from_step_id: "two" })).status).toBe(202);
    expect(await progressOf(worker.run)).toMatchObject({ state: { a: "1" }, next: "two" });
    const untouched = await newRun();
    await app.call("POST", runPath(untouched, "cancel"));
    expect((await retry(untouched, { from_step_id: "two" })).status).toBe(422);
    expect((await retry(untouched, { from_step_id: "one" })).status).toBe(202);
  });
});

test("the retry of a running or completed run is 409, of an unknown run or another tenant's run 404", async () => {
  const { sql } = app.stores;
  const worker = await FakeWorker.claim(sql, await newRun());
  const code = async (answer: Response) => [answer.status, (await bodyOf(answer)).code];
  expect(await code(await retry(worker.run))).toEqual([409, "run_not_finished"]);
  await worker.end("completed");
  expect(await code(await retry(worker.run))).toEqual([409, "run_finished"]);
  expect((await retry(newRunId(Date.now()))).status).toBe(404);
  const { run } = await failRun(sql, await newRun("owner"));
  expect((await retry(run, undefined, await app.stores.key("stranger"))).status).toBe(404);
  expect((await retry(run, undefined, await app.stores.key("owner", ["runs:read"]))).status).toBe(403);
});

test("a body without the content type JSON is 415, a body that is not JSON is 400", async () => {
  const { run } = await failRun(app.stores.sql, await newRun());
  const post = (headers: Record<string, string>, body: string) =>
    app.call("POST", runPath(run, "retry"), { headers, body });
  expect((await post({ "content-type": "text/plain" }, "{}")).status).toBe(415);
  expect((await post({}, "{")).status).toBe(400);
});

// Fails when the statement does not check the status, and the event number that was read.
test("of many retries at once one is 202 and the others are 409, and the run has one new life", async () => {
  const { sql, queue } = app.stores;
  const tenant = TenantId.parse("raced");
  const { run } = await failRun(sql, await newRun(tenant));
  await app.settled();
  const answers = await Promise.all(Array.from({ length: 12 }, () => retry(run)));
  expect(answers.map((answer) => answer.status).toSorted((a, b) => a - b)).toEqual([
    202,
    ...Array.from({ length: 11 }, () => 409),
  ]);
  expect((await eventTypesOf(sql, run)).filter((type) => type === "run_retried")).toHaveLength(1);
  await app.settled();
  expect(await queue.tenantStats(tenant)).toEqual({ active: 0, queuedOrReserved: 1 });
});

test("a retry is subject to the same limits as a new run", async () => {
  const { sql } = app.stores;
  await app.call("POST", "/scale/tenants", { body: { tenant_id: "full", max_queued_runs: 1 } });
  const { run } = await failRun(sql, await newRun("full"));
  await app.settled();
  await app.stores.queue.finish([{ run, tenant: TenantId.parse("full") }], "");
  await newRun("full");
  await app.settled();
  const answer = await retry(run);
  expect([answer.status, answer.headers.get("retry-after")]).toEqual([429, "5"]);
  expect(await bodyOf(answer)).toMatchObject({ code: "queue_full" });
  expect(await bodyOf(await app.call("GET", runPath(run, "status")))).toMatchObject({ status: "failed" });
});

test("a cancelled run can be retried too, and the old cancel no longer applies", async () => {
  const run = await newRun();
  await app.settled();
  await app.call("POST", runPath(run, "cancel"));
  await app.settled();
  expect((await retry(run)).status).toBe(202);
  expect((await FakeWorker.claim(app.stores.sql, run)).claimedRun).toMatchObject({
    cancel: false,
    event_seq: 4,
  });
});

// Fails when a `done` ends a stream, instead of the end of the run.
test("a viewer that reads past the `done` before a retry gets all events, up to the new `done`", async () => {
  const { sql } = app.stores;
  const { run } = await failRun(sql, await newRun());
  await retry(run);
  const relay = new Relay({
    page: (id, after) => viewerPage(sql, id, after),
    positions: (ids) => readPositions(sql, ids),
  });
  const { body } = relay.join({ run, tenant: "", after: 0 }, new AbortController().signal, () => {});
  const viewer = new Viewer(new Response(body));
  const second = await FakeWorker.claim(sql, run);
  // The entry of the retry comes after the first `done`, and the stream is still open.
  await viewer.until(({ text }) => text.includes('"type":"run_retried"'));
  expect(relay.viewers).toBe(1);
  await second.end("completed");
  const [last] = (await journalOf(sql, run)).slice(-1);
  if (last) relay.onEntry({ run, seq: last.seq, events_n: 2, events: last.events, last: true });
  await viewer.end();
  expect(viewer.text.match(/"type":"(\w+)"/g)).toEqual([
    '"type":"step_complete"',
    '"type":"orchestration_complete"',
    '"type":"done"',
    '"type":"run_retried"',
    '"type":"orchestration_complete"',
    '"type":"done"',
  ]);
});

describe("a retry of many", () => {
  const RETRY = "/api/v2/orchestrations/runs:retry";

  test("counts in a dry run, then queues the failed runs, with a result for each", async () => {
    const { sql } = app.stores;
    const tenant_id = "several";
    const runs = await Promise.all([1, 2].map(async () => (await failRun(sql, await newRun(tenant_id))).run));
    const cancelled = await newRun(tenant_id);
    await app.call("POST", runPath(cancelled, "cancel"));
    const dry = await app.call("POST", RETRY, { body: { tenant_id, dry_run: true } });
    expect(await bodyOf(dry)).toMatchObject({ matched: 2, results: [] });
    const answer = await bodyOf(await app.call("POST", RETRY, { body: { tenant_id } }));
    expect(answer.results).toEqual(runs.toSorted().map((run_id) => ({ run_id, status: "queued" })));
    const both = await bodyOf(await app.call("POST", RETRY, { body: { tenant_id, status: ["cancelled"] } }));
    expect(both.results).toEqual([{ run_id: cancelled, status: "queued" }]);
  });
});
