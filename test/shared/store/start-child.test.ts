import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { TenantId } from "../../../shared/contracts/ids.ts";
import type { RunId } from "../../../shared/contracts/ids.ts";
import { flush } from "../../../shared/store/journal/flush.ts";
import { abandonTrack } from "../../../shared/store/runs/abandon-track.ts";
import { retryRun } from "../../../shared/store/runs/requeue-for-retry.ts";
import { MAX_CHILDREN, MAX_DEPTH, cancelChild, startChild } from "../../../shared/store/runs/start-child.ts";
import type { NewChild } from "../../../shared/store/runs/start-child.ts";
import { childRunId } from "../../../worker-node/execution/start-child.ts";
import { childWait, endEntry, humanWait, parkEntry, readAllWaits } from "./family-fixture.ts";
import type { StartedRun } from "./family-fixture.ts";
import { openStore, stepEntry } from "./store-fixture.ts";
import { newRun } from "../../services/new-run.ts";
import type { Store } from "./store-fixture.ts";

let store: Store;
beforeAll(async () => {
  store = await openStore();
});
afterAll(() => store.close());

const childOf = ({ run_id }: { run_id: RunId }, changes: Partial<NewChild> = {}): NewChild => ({
  run_id: childRunId(run_id, changes.wait_id ?? "a:1"),
  orchestration_id: "orch",
  input: '{"message":"go","state":{}}',
  wait_id: "a:1",
  step_path: "a",
  cost_limit_micro_usd: null,
  time_limit_ms: 60_000,
  quota_checked_by: "queue",
  ...changes,
});
const fenceOf = ({ run_id, owner, attempt }: StartedRun) => ({ run_id, owner, attempt });
const start = (parent: StartedRun, changes: Partial<NewChild> = {}) =>
  startChild(store.sql, fenceOf(parent), childOf(parent, changes));
const childrenOf = ({ run_id }: StartedRun) =>
  store.sql`select run_id from runs where parent_run_id = ${run_id}`.then(({ length }) => length);

/** A child that is started and claimed. */
async function startedChild(parent: StartedRun, changes: Partial<NewChild> = {}): Promise<StartedRun> {
  await start(parent, changes);
  const owner = await store.addWorker();
  return { ...(await store.claim(owner, childOf(parent, changes).run_id)), owner };
}

describe("the start of a child", () => {
  test("gives it the tenant, the correlation, the metadata and the rank of its parent", async () => {
    const parent = await store.startRun({
      correlation_id: "order-7",
      metadata: '{"user":"u1"}',
      priority: 4,
      session_id: "s1",
    });
    const started = await start(parent, { cost_limit_micro_usd: 500 });
    const child = childOf(parent);
    expect(started).toMatchObject({
      is: "started",
      run: { run_id: child.run_id, status: "queued", priority: 4 },
    });
    expect(await store.row(child.run_id)).toMatchObject({
      tenant_id: "acme",
      parent_run_id: parent.run_id,
      parent_wait_id: "a:1",
      parent_step_path: "a",
      correlation_id: "order-7",
      metadata: '{"user":"u1"}',
      session_id: "s1",
      triggered_by: "system",
      depth: 1,
      input: child.input,
      webhook_url: null,
    });
    expect(await store.claim(await store.addWorker(), child.run_id)).toMatchObject({
      cost_limit_micro_usd: 500,
      time_limit_ms: 60_000,
      cancel: false,
    });
  });

  // Fails when a repetition after a crash, or a second worker at the same moment, starts a second child or an error.
  test("is made once, however often and by however many workers it is repeated", async () => {
    const parent = await store.startRun();
    await Promise.all(Array.from({ length: 6 }, () => start(parent)));
    expect(await start(parent)).toMatchObject({ is: "started", run: { run_id: childOf(parent).run_id } });
    expect(await childrenOf(parent)).toBe(1);
    await store.claim(await store.addWorker(), childOf(parent).run_id);
    // The child is not enqueued again: a worker executes it.
    expect(await start(parent)).toEqual({ is: "started", run: null });
  });

  test("is refused for a parent that another worker moves, or that is to be cancelled", async () => {
    const parent = await store.startRun();
    expect(await start({ ...parent, attempt: parent.attempt + 1 })).toEqual({ is: "fenced" });
    expect(await start({ ...parent, owner: await store.addWorker() })).toEqual({ is: "fenced" });
    await store.sql`update runs set cancel_requested_at = now() where run_id = ${parent.run_id}`;
    expect(await start(parent)).toEqual({ is: "fenced" });
    expect(await childrenOf(parent)).toBe(0);
  });

  test("is refused for an unknown orchestration, the ninth level and the 1,001st child", async () => {
    const parent = await store.startRun();
    expect(await start(parent, { orchestration_id: "nothing" })).toEqual({ is: "unknown" });
    await store.sql`update runs set depth = ${MAX_DEPTH} where run_id = ${parent.run_id}`;
    expect(await start(parent)).toEqual({ is: "too_deep" });
    await store.sql`update runs set depth = ${MAX_DEPTH - 1} where run_id = ${parent.run_id}`;
    await store.sql`
      insert into runs (run_id, tenant_id, orchestration_id, definition_tenant, definition_version, correlation_id,
        input, parent_run_id, wake_at)
      select 'child-' || ${parent.run_id}::text || n, 'crowd', 'orch', 'acme', 1, '', '{}', ${parent.run_id}, now()
      from generate_series(1, ${MAX_CHILDREN - 1}) n`;
    expect(await start(parent)).toMatchObject({ is: "started" });
    expect(await start(parent, { wait_id: "b:1" })).toEqual({ is: "too_many" });
    // A child that exists is found although its parent has the most children.
    expect(await start(parent)).toMatchObject({ is: "started" });
  });

  // Fails when the statement does not count: Redis is being rebuilt at that moment, and Postgres alone knows the queue.
  test("waits for room where Postgres counts, and takes the last place once", async () => {
    const parent = await store.startRun();
    const queued = store.sql`select count(*)::int as n from runs where tenant_id = 'acme' and status = 'queued'`;
    const [{ n } = { n: 0 }] = await queued;
    await store.sql`update tenants set max_queued_runs = ${n + 1} where tenant_id = 'acme'`;
    const outcomes = await Promise.all(
      ["a:1", "b:1", "c:1"].map((wait_id) => start(parent, { wait_id, quota_checked_by: "postgres" })),
    );
    await store.sql`update tenants set max_queued_runs = 1000 where tenant_id = 'acme'`;
    expect(outcomes.map(({ is }) => is).toSorted()).toEqual(["full", "full", "started"]);
    expect(await childrenOf(parent)).toBe(1);
  });

  test("of another tenant's orchestration does not find it", async () => {
    const parent = await store.startRun();
    const other = TenantId.parse("globex");
    await store.sql`insert into orchestrations (tenant_id, id, name, version) values (${other}, 'theirs', 'x', 1)`;
    expect(await start(parent, { orchestration_id: "theirs" })).toEqual({ is: "unknown" });
  });
});

describe("the end of a child", () => {
  // Fails when the row of the child does not name the wait: a crash between its start and the park would lose its end.
  test("before its parent has parked refuses that park, and its answer is there", async () => {
    const parent = await store.startRun();
    const child = await startedChild(parent);
    const [end] = await flush(store.sql, [endEntry(child)]);
    expect(end?.notified).toMatchObject([{ run_id: parent.run_id, status: "running", owner: parent.owner }]);
    expect(await flush(store.sql, [parkEntry(parent, [childWait("a:1", child.run_id)])])).toEqual([]);
    expect(await readAllWaits(store.sql, parent.run_id)).toMatchObject([
      { wait_id: "a:1", state: "answered", answered_by: child.run_id },
    ]);
  });

  // Fails when the wait is inserted by the park and by the end: Postgres refuses such a flush, for ever.
  test("in the flush in which one track of its parent begins to wait for it is the answer of that wait", async () => {
    const parent = await store.startRun();
    const child = await startedChild(parent);
    const oneTrack = { status: null, wake_ms: null, signals: null };
    const park = parkEntry(parent, [childWait("a:1", child.run_id)], oneTrack);
    const committed = await flush(store.sql, [park, endEntry(child)]);
    expect(new Map(committed.map(({ run_id, signals }) => [run_id, signals]))).toEqual(
      new Map([
        [parent.run_id, 1],
        [child.run_id, 0],
      ]),
    );
    expect(await readAllWaits(store.sql, parent.run_id)).toMatchObject([
      { wait_id: "a:1", state: "answered", answered_by: child.run_id },
    ]);
  });

  test("names its parent, which is due now, for the queue, and reports its usage", async () => {
    const parent = await store.startRun();
    const child = await startedChild(parent);
    await flush(store.sql, [parkEntry(parent, [childWait("a:1", child.run_id)])]);
    const usage = { provider: "p", model: "m", input_tokens: 10, output_tokens: 5, cost_micro_usd: 7 };
    const calls = [
      { ...usage, call: "1" },
      { ...usage, call: "2" },
    ];
    const [end] = await flush(store.sql, [endEntry(child, { usage: calls })]);
    expect(end?.notified).toMatchObject([
      { run_id: parent.run_id, status: "queued", owner: null, lane: "default" },
    ]);
    expect(await readAllWaits(store.sql, parent.run_id)).toMatchObject([
      { child_usage: { input_tokens: 20, output_tokens: 10, cost_micro_usd: 14 } },
    ]);
  });
});

describe("the end of a parent", () => {
  test("cancels the children that it waits for, and leaves the others alone", async () => {
    const parent = await store.startRun();
    const awaited = await startedChild(parent);
    const detached = await startedChild(parent, { run_id: newRun().run_id, wait_id: null });
    const [end] = await flush(store.sql, [endEntry(parent)]);
    expect(end?.notified?.map(({ run_id }) => run_id)).toEqual([awaited.run_id]);
    expect((await store.row(awaited.run_id))["cancel_requested_at"]).toBeInstanceOf(Date);
    expect(await store.row(detached.run_id)).toMatchObject({ cancel_requested_at: null, signals: 0 });
    const left = await flush(store.sql, [endEntry(detached)]);
    expect(left).toMatchObject([{ notified: null }]);
  });

  // Fails when the claim does not look at the parent: the start was on its way when the parent ended, so the end did not see it.
  test("that did not see a child which started at the same moment cancels it when it is claimed", async () => {
    const parent = await store.startRun();
    await start(parent);
    const child = childOf(parent).run_id;
    await store.sql`update runs set parent_run_id = null where run_id = ${child}`;
    await flush(store.sql, [endEntry(parent)]);
    await store.sql`update runs set parent_run_id = ${parent.run_id} where run_id = ${child}`;
    expect(await store.claim(await store.addWorker(), child)).toMatchObject({ cancel: true });
  });

  // Fails when every child of an ended parent is cancelled at its claim: a client could not retry one.
  test("does not keep a client from a retry of a child", async () => {
    const parent = await store.startRun();
    const child = await startedChild(parent);
    await flush(store.sql, [endEntry(child, { status: "failed" })]);
    await flush(store.sql, [endEntry({ ...parent, signals: 1 }, { status: "failed" })]);
    const { event_seq: known_seq } = await store.row(child.run_id);
    await retryRun(store.sql, { ...child, known_seq, output: '{"keep_seq":2}', event: "{}" });
    expect(await store.claim(await store.addWorker(), child.run_id)).toMatchObject({ cancel: false });
  });
});

// Fails when the names of the waits are compared without the dot after the branch: `a[1]` would close what `a[1]0` asks.
test("what a failed branch has left open ends: its questions and its children, and no others", async () => {
  const parent = await store.startRun();
  const names = ["a[1].b[0].x:1", "a[1].y:1", "a[1]0.x:1", "a[2].x:1", "a%.x:1"];
  for (const wait_id of names) await start(parent, { wait_id, step_path: wait_id });
  await start(parent, { wait_id: null, step_path: "a[1].z" });
  const waits = names.map((name) => humanWait(`${name}?`));
  await flush(store.sql, [parkEntry(parent, waits)]);
  const cancelled = await abandonTrack(store.sql, parent.run_id, "a[1]");
  const ids = names.slice(0, 2).map((name) => childRunId(parent.run_id, name));
  expect(cancelled.map(({ run_id }) => run_id).toSorted()).toEqual(ids.toSorted());
  const marked =
    await store.sql`select run_id from runs where parent_run_id = ${parent.run_id} and cancel_requested_at is not null`;
  expect(marked.map(({ run_id }) => String(run_id)).toSorted()).toEqual(ids.toSorted());
  const states = (await readAllWaits(store.sql, parent.run_id)).map((wait) => [wait.wait_id, wait.state]);
  expect(Object.fromEntries(states)).toEqual(
    Object.fromEntries(names.map((name, i) => [`${name}?`, i < 2 ? "expired" : "open"])),
  );
  expect(await abandonTrack(store.sql, parent.run_id, "a[9]")).toEqual([]);
});

test("a child is cancelled by its own parent alone, and once it has ended not at all", async () => {
  const [parent, other] = [await store.startRun(), await store.startRun()];
  const child = await startedChild(parent);
  expect(await cancelChild(store.sql, other.run_id, child.run_id)).toBeNull();
  expect(await cancelChild(store.sql, parent.run_id, child.run_id)).toMatchObject({ owner: child.owner });
  expect(await store.row(child.run_id)).toMatchObject({ status: "running", signals: 1 });
  await flush(store.sql, [endEntry(child, { status: "cancelled" })]);
  expect(await cancelChild(store.sql, parent.run_id, child.run_id)).toBeNull();
  // The signal of its end reaches the parent once.
  expect(await flush(store.sql, [stepEntry(parent)])).toMatchObject([{ signals: 1 }]);
});
