import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { TenantId, newRunId } from "../../../shared/contracts/ids.ts";
import { fold } from "../../../shared/journal/fold.ts";
import { readEntries, readStored } from "../../../shared/store/journal/read-journal.ts";
import { readPositions } from "../../../shared/store/runs/runs.ts";
import { Relay } from "../../../edge/streaming/relay.ts";
import { bodyOf, runPath, startApp, startRun, type TestApp } from "../app.ts";
import { Life, failed, journalOf, typesOf } from "../fake-workers.ts";

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.stop());

const retry = (run: string, body?: unknown, key?: string) =>
  app.call("POST", runPath(run, "retry"), { ...(body !== undefined && { body }), ...(key && { key }) });
const fresh = async (tenant_id = "default") => startRun(app, { body: { message: "hi", tenant_id } });
const progressOf = async (run: string) => {
  const life = await Life.begin(app.world.sql, run);
  return fold({}, (await readStored(app.world.sql, [life.run])).get(life.run) ?? []);
};

test("a failed run goes on from its last result, in the same log, to a new done", async () => {
  const { sql, queue } = app.world;
  const tenant = TenantId.parse("again");
  const first = await failed(sql, await fresh(tenant));
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

  const second = await Life.begin(sql, first.run);
  expect(second.claimed).toMatchObject({ attempt: 2, crash_count: 0, cancel: false });
  const progress = fold({}, (await readStored(sql, [second.run])).get(second.run) ?? []);
  expect([progress.state, progress.next, progress.end]).toEqual([{ a: "1" }, "two", null]);
  await second.end("completed");
  expect(await typesOf(sql, second.run)).toEqual([
    "step_complete",
    "orchestration_complete",
    "done",
    "run_retried",
    "orchestration_complete",
    "done",
  ]);
  const seqs = (await journalOf(sql, second.run)).map((entry) => entry.seq);
  expect(seqs).toEqual([1, 3, 4, 6]);
  // Who had read up to the first `done` is told the rest, and then that there is no more.
  const base = second.run.slice(-13);
  const from = (n: number) =>
    app.call("GET", runPath(second.run, "stream"), { headers: { "last-event-id": `${base}-${n}` } });
  const rest = await (await from(3)).text();
  expect(rest.match(/^id: .*$/gm)).toEqual([4, 5, 6].map((n) => `id: ${base}-${n}`));
  expect((await from(6)).status).toBe(204);
});

// Red when: the clock of the first life goes on, so that a run retried an hour later has had its time.
test("a second life has its whole time again", async () => {
  const { sql } = app.world;
  const { run } = await failed(sql, await fresh());
  await sql`update runs set started_at = now() - interval '1 day' where run_id = ${run}`;
  await retry(run);
  expect((await Life.begin(sql, run)).claimed.running_for_ms).toBeLessThan(5_000);
});

describe("from_step_id", () => {
  const looped = async () => {
    const life = await Life.begin(app.world.sql, await fresh());
    await life.step("one", "a", "1", "two");
    await life.step("two", "b", "first", "one");
    await life.step("one", "a", "2", "two", 2);
    await life.write({
      kind: "turn",
      output: JSON.stringify({ step: "two", visit: 2, data: { said: "half" } }),
    });
    await life.step("two", "b", "second", "one", 2);
    await life.end("failed");
    return life.run;
  };

  // Red when: the turns of the visit that is done again are kept, or its first visit is taken.
  test("does the step's latest visit again, from its beginning", async () => {
    const run = await looped();
    expect((await retry(run, { from_step_id: "two" })).status).toBe(202);
    expect(await progressOf(run)).toMatchObject({ state: { a: "2", b: "first" }, next: "two", turns: [] });
    const event =
      (await journalOf(app.world.sql, run)).find((entry) => entry.kind === "rewind")?.events ?? "";
    expect(JSON.parse(event)).toMatchObject({ type: "run_retried", from_step_id: "two" });
  });

  test("counts what an earlier retry has cut away for nothing", async () => {
    const run = await looped();
    await retry(run, { from_step_id: "one" });
    expect(await progressOf(run)).toMatchObject({ state: { a: "1", b: "first" }, next: "one" });
    await app.world.sql`
      update runs set status = 'failed', ended_at = now(), owner = null, wake_at = null where run_id = ${run}`;
    expect((await retry(run, { from_step_id: "two" })).status).toBe(202);
    expect(await progressOf(run)).toMatchObject({ state: { a: "1" }, next: "two" });
  });

  test("may name the step that failed, and none that has no result", async () => {
    const life = await failed(app.world.sql, await fresh());
    for (const [step, message] of [
      ["nowhere", "is no step of the version that this run is pinned to"],
      ["not/a step", "must be 1 to 255 letters, digits or . _ -"],
    ]) {
      const answer = await retry(life.run, { from_step_id: step });
      expect(answer.status).toBe(422);
      expect(await bodyOf(answer)).toMatchObject({
        code: "invalid",
        errors: [{ path: "from_step_id", message }],
      });
    }
    expect((await retry(life.run, { from_step_id: "two" })).status).toBe(202);
    expect(await progressOf(life.run)).toMatchObject({ state: { a: "1" }, next: "two" });
    const untouched = await fresh();
    await app.call("POST", runPath(untouched, "cancel"));
    expect((await retry(untouched, { from_step_id: "two" })).status).toBe(422);
    expect((await retry(untouched, { from_step_id: "one" })).status).toBe(202);
  });
});

test("a run that is not over, or completed, is 409; one that is not there or another's is 404", async () => {
  const { sql } = app.world;
  const life = await Life.begin(sql, await fresh());
  const code = async (answer: Response) => [answer.status, (await bodyOf(answer)).code];
  expect(await code(await retry(life.run))).toEqual([409, "run_not_finished"]);
  await life.end("completed");
  expect(await code(await retry(life.run))).toEqual([409, "run_finished"]);
  expect((await retry(newRunId(Date.now()))).status).toBe(404);
  const { run } = await failed(sql, await fresh("mine"));
  expect((await retry(run, undefined, await app.world.key("theirs"))).status).toBe(404);
  expect((await retry(run, undefined, await app.world.key("mine", ["runs:read"]))).status).toBe(403);
});

test("a body that does not say it is JSON is 415, one that is not JSON 400", async () => {
  const { run } = await failed(app.world.sql, await fresh());
  const post = (headers: Record<string, string>, body: string) =>
    app.call("POST", runPath(run, "retry"), { headers, body });
  expect((await post({ "content-type": "text/plain" }, "{}")).status).toBe(415);
  expect((await post({}, "{")).status).toBe(400);
});

// Red when: the statement does not ask for the status, and for the number that was read.
test("of many retries at once one is 202 and the others 409, and it has one new life", async () => {
  const { sql, queue } = app.world;
  const tenant = TenantId.parse("raced");
  const { run } = await failed(sql, await fresh(tenant));
  await app.settled();
  const answers = await Promise.all(Array.from({ length: 12 }, () => retry(run)));
  expect(answers.map((answer) => answer.status).toSorted((a, b) => a - b)).toEqual([
    202,
    ...Array.from({ length: 11 }, () => 409),
  ]);
  expect((await typesOf(sql, run)).filter((type) => type === "run_retried")).toHaveLength(1);
  await app.settled();
  expect(await queue.tenantStats(tenant)).toEqual({ active: 0, queuedOrReserved: 1 });
});

test("a retry passes the same limits as a new run", async () => {
  const { sql } = app.world;
  await app.call("POST", "/scale/tenants", { body: { tenant_id: "full", max_queued_runs: 1 } });
  const { run } = await failed(sql, await fresh("full"));
  await app.settled();
  await app.world.queue.finish([{ run, tenant: TenantId.parse("full") }], "");
  await fresh("full");
  await app.settled();
  const answer = await retry(run);
  expect([answer.status, answer.headers.get("retry-after")]).toEqual([429, "5"]);
  expect(await bodyOf(answer)).toMatchObject({ code: "queue_full" });
  expect(await bodyOf(await app.call("GET", runPath(run, "status")))).toMatchObject({ status: "failed" });
});

test("a cancelled run can be retried too, and is not cancelled again", async () => {
  const run = await fresh();
  await app.settled();
  await app.call("POST", runPath(run, "cancel"));
  await app.settled();
  expect((await retry(run)).status).toBe(202);
  expect((await Life.begin(app.world.sql, run)).claimed).toMatchObject({ cancel: false, event_seq: 4 });
});

// Red when: `done` ends a stream, instead of the run's end.
test("a viewer who reads across a done that was before a retry gets all of it, and stays until the new one", async () => {
  const { sql } = app.world;
  const { run } = await failed(sql, await fresh());
  await retry(run);
  const relay = new Relay({
    page: (id, after) => readEntries(sql, id, after, 200),
    positions: (ids) => readPositions(sql, ids),
  });
  const body = relay.join(run, 0, new AbortController().signal, () => {});
  const text = new Response(body).text();
  const second = await Life.begin(sql, run);
  await new Promise((resolve) => setTimeout(resolve, 200));
  expect(relay.viewers).toBe(1);
  await second.end("completed");
  const [last] = (await journalOf(sql, run)).slice(-1);
  if (last) relay.onEntry({ run, seq: last.seq, events_n: 2, events: last.events, last: true });
  expect((await text).match(/"type":"(\w+)"/g)).toEqual([
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

  test("counts first, then queues those that failed, with an answer for each", async () => {
    const { sql } = app.world;
    const tenant_id = "several";
    const runs = await Promise.all([1, 2].map(async () => (await failed(sql, await fresh(tenant_id))).run));
    const cancelled = await fresh(tenant_id);
    await app.call("POST", runPath(cancelled, "cancel"));
    const dry = await app.call("POST", RETRY, { body: { tenant_id, dry_run: true } });
    expect(await bodyOf(dry)).toMatchObject({ matched: 2, results: [] });
    const answer = await bodyOf(await app.call("POST", RETRY, { body: { tenant_id } }));
    expect(answer.results).toEqual(runs.toSorted().map((run_id) => ({ run_id, status: "queued" })));
    const both = await bodyOf(await app.call("POST", RETRY, { body: { tenant_id, status: ["cancelled"] } }));
    expect(both.results).toEqual([{ run_id: cancelled, status: "queued" }]);
  });
});
