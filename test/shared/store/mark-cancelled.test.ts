import { afterAll, beforeAll, expect, test } from "vitest";
import type { RunId } from "../../../shared/contracts/ids.ts";
import { cancelRuns, readFamily, readCancellableRuns } from "../../../shared/store/runs/mark-cancelled.ts";
import { flush } from "../../../shared/store/journal/flush.ts";
import { acceptChild, endEntry, parkEntry, startChild, childWait, readAllWaits } from "./family-fixture.ts";
import { acme, globex, openStore } from "./store-fixture.ts";
import type { Store } from "./store-fixture.ts";

let store: Store;
beforeAll(async () => {
  store = await openStore();
});
afterAll(() => store.close());

const addChild = (parent: RunId): Promise<RunId> => acceptChild(store, parent, "w");
const cancelEnd = (run_id: RunId, known_seq = 0) => ({
  run_id,
  known_seq,
  events: '{"type":"final"}\n{"type":"done"}',
  events_n: 2,
  output: "{}",
});

test("a family is the run, first and also when it has ended, and all its descendants that have not ended", async () => {
  const root = await store.accept();
  const [childA, childB] = [await addChild(root), await addChild(root)];
  const grandchild = await addChild(childB);
  await cancelRuns(store.sql, [], [cancelEnd(childA)]);
  const ids = async () => (await readFamily(store.sql, acme, root)).map(({ run_id }) => run_id);
  expect(await ids()).toEqual([root, childB, grandchild]);
  await cancelRuns(store.sql, [], [cancelEnd(root)]);
  expect(await ids()).toEqual([root, childB, grandchild]);
  expect(await readFamily(store.sql, globex, root)).toEqual([]);
  expect(await readFamily(store.sql, null, root)).toHaveLength(3);
});

test("one statement ends the queued runs of a family and marks the running ones", async () => {
  const parent = await store.startRun();
  const waiting = await addChild(parent.run_id);
  const cancelled = await cancelRuns(store.sql, [parent.run_id], [cancelEnd(waiting)]);
  expect(cancelled).toEqual([
    { run_id: parent.run_id, status: "running", owner: parent.owner, event_seq: 0, notified: null },
    {
      run_id: waiting,
      status: "cancelled",
      owner: null,
      event_seq: 2,
      notified: [expect.objectContaining({ run_id: parent.run_id, owner: parent.owner })],
    },
  ]);
  expect(await store.row(parent.run_id)).toMatchObject({ status: "running", signals: 1 });
  const ended = await store.row(waiting);
  expect(ended).toMatchObject({
    status: "cancelled",
    wake_at: null,
    owner: null,
    event_seq: 2,
  });
  expect([ended.ended_at, ended.cancel_requested_at].every((time) => time instanceof Date)).toBe(true);
  const entries = await store.sql`select seq, kind, events_n from journal where run_id = ${waiting}`;
  expect([...entries]).toEqual([{ seq: 2, kind: "end", events_n: 2 }]);
});

// Fails when a run is marked as waiting although a worker has claimed or ended it since it was read.
test("runs that are left to a worker become due, with a cancel request, if they still wait", async () => {
  const [waits, running, ended] = [
    await store.accept({ delay_ms: 600_000 }),
    await store.startRun(),
    await store.accept(),
  ];
  await cancelRuns(store.sql, [], [cancelEnd(ended)]);
  expect(await cancelRuns(store.sql, [], [], [waits, running.run_id, ended])).toEqual([
    { run_id: waits, status: "queued", owner: null, event_seq: 0, notified: null },
  ]);
  expect(await store.row(running.run_id)).toMatchObject({ signals: 0, cancel_requested_at: null });
  const claimed = await store.claim(await store.addWorker(), waits);
  expect(claimed).toMatchObject({ cancel: true, signals: 1 });
});

// Fails when the statement does not compare `known_seq` or the status.
test("a run that has changed since it was read is not cancelled", async () => {
  const claimed = await store.startRun();
  const moved = await store.accept();
  await store.sql`update runs set event_seq = 3 where run_id = ${moved}`;
  const ended = await store.accept();
  await cancelRuns(store.sql, [], [cancelEnd(ended)]);
  expect(
    await cancelRuns(
      store.sql,
      [ended, moved],
      [cancelEnd(claimed.run_id), cancelEnd(moved), cancelEnd(ended)],
    ),
  ).toEqual([]);
  expect(
    (await readCancellableRuns(store.sql, [claimed.run_id, moved, ended])).map(({ run_id }) => run_id),
  ).toEqual([moved]);
  expect(await store.row(moved)).toMatchObject({ status: "queued", event_seq: 3, cancel_requested_at: null });
});

// Fails when a level is not reached, two parts of the statement change one row, or an ended run is changed.
test("in a family of three levels queued and paused runs end, running ones are marked, ended ones stay unchanged", async () => {
  const root = await store.startRun();
  const queued = await acceptChild(store, root.run_id, "queued");
  const paused = await startChild(store, root.run_id, "paused");
  const ended = await startChild(store, root.run_id, "ended");
  const underQueued = await acceptChild(store, queued, "w");
  const underPaused = await startChild(store, paused.run_id, "w");
  const underEnded = await startChild(store, ended.run_id, "w");
  await flush(store.sql, [parkEntry(paused, [childWait("w", underPaused.run_id)])]);
  await flush(store.sql, [endEntry(ended)]);
  const before = await store.row(ended.run_id);

  const family = await readFamily(store.sql, acme, root.run_id);
  const running = family.filter(({ status }) => status === "running").map(({ run_id }) => run_id);
  const waiting = await readCancellableRuns(
    store.sql,
    family.map(({ run_id }) => run_id),
  );
  const ends = waiting.map(({ run_id, event_seq }) => cancelEnd(run_id, event_seq));
  expect(new Set(running)).toEqual(new Set([root.run_id, underPaused.run_id, underEnded.run_id]));
  expect(new Set(ends.map(({ run_id }) => run_id))).toEqual(new Set([queued, paused.run_id, underQueued]));
  expect(await cancelRuns(store.sql, running, ends)).toHaveLength(6);

  for (const run of running) {
    const row = await store.row(run);
    expect(row).toMatchObject({ status: "running", cancel_requested_at: expect.any(Date) });
  }
  for (const { run_id } of ends)
    expect(await store.row(run_id)).toMatchObject({ status: "cancelled", owner: null });
  expect(await store.row(ended.run_id)).toEqual(before);
  const answered = (await readAllWaits(store.sql, root.run_id)).map(
    ({ wait_id, state }) => `${wait_id} ${state}`,
  );
  expect(answered).toEqual(["ended answered", "paused answered", "queued answered"]);
  // One signal before, of the child that ended. One now, by the mark, though two more children have ended.
  expect(await store.row(root.run_id)).toMatchObject({ signals: 2 });
});

// Fails when relatives that the caller does not name are not notified of an end.
test("the cancel of a single run answers its parent's wait and marks its children", async () => {
  const parent = await store.startRun();
  const run = await acceptChild(store, parent.run_id, "w1");
  await flush(store.sql, [parkEntry(parent, [childWait("w1", run)])]);
  const [grandchild, delayed] = [await startChild(store, run, "w1"), await acceptChild(store, run, "w2")];
  await store.sql`update runs set wake_at = now() + interval '1 hour' where run_id = ${delayed}`;
  const [cancelled] = await cancelRuns(store.sql, [], [cancelEnd(run)]);
  expect(cancelled).toMatchObject({ run_id: run, status: "cancelled", owner: null, event_seq: 2 });
  // The runs that the edge enqueues, or whose workers it sends a hint.
  expect(new Map(cancelled?.notified?.map((each) => [each.run_id, each.status]))).toEqual(
    new Map([
      [parent.run_id, "queued"],
      [grandchild.run_id, "running"],
      [delayed, "queued"],
    ]),
  );
  expect(await readAllWaits(store.sql, parent.run_id)).toMatchObject([
    { state: "answered", answer: "{}", answered_by: run },
  ]);
  expect(await store.row(parent.run_id)).toMatchObject({
    status: "queued",
    signals: 1,
    cancel_requested_at: null,
  });
  expect(await store.row(grandchild.run_id)).toMatchObject({ status: "running", signals: 1 });
  expect(await store.claim(parent.owner, delayed)).toMatchObject({ cancel: true });
});

// Fails when a mark changes the status of an ended run, or a wait is answered twice.
test("an end that is committed before a cancel stays, and a run that ends and is cancelled at the same moment ends once", async () => {
  const families = await Promise.all(
    Array.from({ length: 30 }, async () => {
      const parent = await store.startRun();
      const run = await startChild(store, parent.run_id, "w");
      await flush(store.sql, [parkEntry(parent, [childWait("w", run.run_id)])]);
      return { parent, run };
    }),
  );
  await Promise.all(
    families.map(async ({ parent, run }) => {
      const [ended, , cancelled] = await Promise.all([
        flush(store.sql, [endEntry(run)]),
        cancelRuns(store.sql, [run.run_id], []),
        cancelRuns(store.sql, [], [cancelEnd(parent.run_id, 2)]),
      ]);
      expect(ended).toHaveLength(1);
      expect(cancelled).toHaveLength(1);
      const [row, after] = [await store.row(run.run_id), await store.row(parent.run_id)];
      expect([row["status"], after["status"]]).toEqual(["completed", "cancelled"]);
      expect(await readAllWaits(store.sql, parent.run_id)).toMatchObject([{ answered_by: run.run_id }]);
      expect(await cancelRuns(store.sql, [run.run_id, parent.run_id], [cancelEnd(run.run_id, 2)])).toEqual(
        [],
      );
      expect(await store.row(run.run_id)).toEqual(row);
    }),
  );
});
