import { afterAll, beforeAll, expect, test } from "vitest";
import type { RunId } from "../../shared/contracts/ids.ts";
import { cancelRuns, readFamily, readWaiting } from "../../shared/store/cancel.ts";
import { acme, globex, openStore } from "./world.ts";
import type { Store } from "./world.ts";

let store: Store;
beforeAll(async () => {
  store = await openStore();
});
afterAll(() => store.close());

const child = async (parent: RunId): Promise<RunId> => {
  const run = await store.accept();
  await store.sql`update runs set parent_run_id = ${parent}, parent_wait_id = 'w' where run_id = ${run}`;
  return run;
};
const endOf = (run_id: RunId, known_seq = 0) => ({
  run_id,
  known_seq,
  events: '{"type":"final"}\n{"type":"done"}',
  events_n: 2,
  output: "{}",
});

test("a family is the run and all its descendants that have not ended, itself first, also when it has ended", async () => {
  const root = await store.accept();
  const [one, two] = [await child(root), await child(root)];
  const grandchild = await child(two);
  await cancelRuns(store.sql, [], [endOf(one)]);
  const ids = async () => (await readFamily(store.sql, acme, root)).map(({ run_id }) => run_id);
  expect(await ids()).toEqual([root, two, grandchild]);
  await cancelRuns(store.sql, [], [endOf(root)]);
  expect(await ids()).toEqual([root, two, grandchild]);
  expect(await readFamily(store.sql, globex, root)).toEqual([]);
  expect(await readFamily(store.sql, null, root)).toHaveLength(3);
});

test("one statement ends what waits and marks what runs, of a whole family", async () => {
  const parent = await store.running();
  const waiting = await child(parent.run_id);
  const cancelled = await cancelRuns(store.sql, [parent.run_id], [endOf(waiting)]);
  expect(cancelled).toEqual([
    { run_id: parent.run_id, status: "running", owner: parent.owner, event_seq: 0 },
    { run_id: waiting, status: "cancelled", owner: null, event_seq: 2 },
  ]);
  expect(await store.row(parent.run_id)).toMatchObject({ status: "running", signals: 1 });
  const ended = await store.row(waiting);
  expect(ended).toMatchObject({ status: "cancelled", wake_at: null, owner: null, event_seq: 2 });
  expect([ended.ended_at, ended.cancel_requested_at].every((time) => time instanceof Date)).toBe(true);
  const entries = await store.sql`select seq, kind, events_n from journal where run_id = ${waiting}`;
  expect([...entries]).toEqual([{ seq: 2, kind: "end", events_n: 2 }]);
});

// Red when: the number that was read, or the status, is not asked for.
test("a run that has changed since it was read is left alone", async () => {
  const claimed = await store.running();
  const moved = await store.accept();
  await store.sql`update runs set event_seq = 3 where run_id = ${moved}`;
  const ended = await store.accept();
  await cancelRuns(store.sql, [], [endOf(ended)]);
  expect(
    await cancelRuns(store.sql, [ended, moved], [endOf(claimed.run_id), endOf(moved), endOf(ended)]),
  ).toEqual([]);
  expect((await readWaiting(store.sql, [claimed.run_id, moved, ended])).map(({ run_id }) => run_id)).toEqual([
    moved,
  ]);
  expect(await store.row(moved)).toMatchObject({ status: "queued", event_seq: 3, cancel_requested_at: null });
});
