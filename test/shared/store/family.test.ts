import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { RunId } from "../../../shared/contracts/ids.ts";
import { flush } from "../../../shared/store/journal/flush.ts";
import {
  COMPLETED,
  acceptChild,
  endEntry,
  parkEntry,
  startChild,
  humanWait,
  childWait,
  readAllWaits,
} from "./family-fixture.ts";
import type { StartedRun } from "./family-fixture.ts";
import { stepEntry, openStore } from "./store-fixture.ts";
import type { Store } from "./store-fixture.ts";

let store: Store;
beforeAll(async () => {
  store = await openStore();
});
afterAll(() => store.close());

/** A parent that is paused until its running children have ended. */
async function pausedParent(waits: string[]): Promise<{ parent: StartedRun; children: StartedRun[] }> {
  const parent = await store.startRun();
  const children = await Promise.all(waits.map((wait) => startChild(store, parent.run_id, wait)));
  const waitsOpened = children.map((child, n) => childWait(waits[n] ?? "", child.run_id));
  await flush(store.sql, [parkEntry(parent, waitsOpened)]);
  return { parent, children };
}

/** The first item. */
function first<Item>([item]: readonly Item[]): Item {
  if (item === undefined) throw new Error("the list is empty");
  return item;
}

/** The rows of a run's waits, unchanged by the read. */
const waitRows = (run: RunId) =>
  store.sql`select wait_id, kind, child_run_id, answer, answered_by, answered_at is not null as answered
    from waits where run_id = ${run} order by wait_id`.then((rows) => rows.map((row) => ({ ...row })));

describe("a child's end", () => {
  // Fails when the answer is not in the statement of the end, or is written again for a fenced entry.
  test("answers its parent's wait and makes the parent due, once, however often the flush is repeated", async () => {
    const { parent, children } = await pausedParent(["w1"]);
    const child = first(children);
    const end = endEntry(child);
    expect(await flush(store.sql, [end])).toHaveLength(1);
    const [row, waits] = [await store.row(parent.run_id), await readAllWaits(store.sql, parent.run_id)];
    expect(row).toMatchObject({ status: "queued", signals: 1, cancel_requested_at: null });
    expect(waits).toEqual([
      expect.objectContaining({ state: "answered", answer: COMPLETED, answered_by: child.run_id }),
    ]);
    const answered = await waitRows(parent.run_id);
    for (let n = 0; n < 3; n++) expect(await flush(store.sql, [end])).toEqual([]);
    expect(await store.row(parent.run_id)).toEqual(row);
    expect(await waitRows(parent.run_id)).toEqual(answered);
    await store.claim(parent.owner, parent.run_id);
  });

  // Fails when a wait is answered twice, or when a run is woken without an answer.
  test("after a retry changes neither the answer nor the parent", async () => {
    const { parent, children } = await pausedParent(["w1"]);
    const child = first(children);
    await flush(store.sql, [endEntry(child, { status: "failed", output: '{"status":"failed"}' })]);
    await store.sql`update runs set status = 'running', owner = ${child.owner}, wake_at = now(), ended_at = null
      where run_id = ${child.run_id}`;
    const before = await store.row(parent.run_id);
    expect(await flush(store.sql, [endEntry(child, { known_seq: 2 })])).toHaveLength(1);
    expect(await store.row(parent.run_id)).toEqual(before);
    expect(await waitRows(parent.run_id)).toMatchObject([{ answer: '{"status":"failed"}' }]);
  });

  test("signals a running parent, and does not change one that has ended", async () => {
    const [running, ended] = [await pausedParent(["w1", "w2"]), await pausedParent(["w1", "w2"])];
    for (const { parent, children } of [running, ended]) {
      await flush(store.sql, [endEntry(first(children))]);
      Object.assign(parent, await store.claim(parent.owner, parent.run_id));
    }
    await flush(store.sql, [endEntry(ended.parent)]);
    const before = [await store.row(running.parent.run_id), await store.row(ended.parent.run_id)];
    const second = [running, ended].map(({ children }) => endEntry(first(children.slice(1))));
    // The child whose parent has ended was marked as cancelled, which is no part of the fence.
    expect(await flush(store.sql, second)).toHaveLength(2);
    expect(await store.row(running.parent.run_id)).toEqual({ ...before[0], signals: 2 });
    expect(await store.row(ended.parent.run_id)).toEqual(before[1]);
    // Otherwise a retry of the parent would wait for ever.
    expect(await waitRows(ended.parent.run_id)).toMatchObject([{ answered: true }, { answered: true }]);
  });

  // Fails when relatives are not grouped, or when only one wait of a parent is answered.
  test("in one flush with the ends of its siblings answers all waits of the parent", async () => {
    const { parent, children } = await pausedParent(["w1", "w2", "w3"]);
    expect(
      await flush(
        store.sql,
        children.map((child) => endEntry(child)),
      ),
    ).toHaveLength(3);
    expect(await waitRows(parent.run_id)).toMatchObject(
      children.map((child) => ({ child_run_id: child.run_id, answered: true })),
    );
    expect(await store.row(parent.run_id)).toMatchObject({ status: "queued", signals: 1 });
  });

  // Fails when waits are found only through the child's parent.
  test("answers also a run that waits for it and is not its parent", async () => {
    const [turn, previous] = [await store.startRun(), await store.startRun()];
    await flush(store.sql, [
      parkEntry(turn, [humanWait("previous", { kind: "turn", child_run_id: previous.run_id })]),
    ]);
    await flush(store.sql, [endEntry(previous)]);
    expect(await store.row(turn.run_id)).toMatchObject({ status: "queued", signals: 1 });
    expect(await waitRows(turn.run_id)).toMatchObject([{ kind: "turn", answer: COMPLETED, answered: true }]);
  });
});

describe("one flush with entries of a parent and a child", () => {
  // Fails when two parts of the statement change the parent's row: Postgres makes only the first change, so the result or the signal would be missing.
  test("commits the parent's result and signals the child's end", async () => {
    const parent = await store.startRun();
    const child = await startChild(store, parent.run_id, "w1");
    const committed = await flush(store.sql, [stepEntry(parent), endEntry(child)]);
    expect(committed.find(({ run_id }) => run_id === parent.run_id)).toMatchObject({
      event_seq: 2,
      signals: 1,
    });
    expect(committed).toHaveLength(2);
    expect(await store.row(parent.run_id)).toMatchObject({ status: "running", event_seq: 2, signals: 1 });
    expect(await waitRows(parent.run_id)).toMatchObject([{ kind: "child", answered: true }]);
  });

  // Fails when the park is committed: the run would stay paused with all its waits answered.
  test("refuses a park that does not know of the child's end", async () => {
    const parent = await store.startRun();
    const child = await startChild(store, parent.run_id, "w1");
    const park = parkEntry(parent, [childWait("w1", child.run_id)]);
    expect((await flush(store.sql, [park, endEntry(child)])).map(({ run_id }) => run_id)).toEqual([
      child.run_id,
    ]);
    expect(await store.row(parent.run_id)).toMatchObject({ status: "running", event_seq: 0, signals: 1 });
  });

  // Fails when the end of one refuses or marks the end of the other.
  test("ends both, and marks a child that goes on as cancelled", async () => {
    const parent = await store.startRun();
    const [ends, goesOn] = [
      await startChild(store, parent.run_id, "w1"),
      await startChild(store, parent.run_id, "w2"),
    ];
    const committed = await flush(store.sql, [endEntry(parent), endEntry(ends), stepEntry(goesOn)]);
    expect(committed).toHaveLength(3);
    expect(committed.filter(({ cancel }) => cancel).map(({ run_id }) => run_id)).toEqual([goesOn.run_id]);
    expect(await store.row(ends.run_id)).toMatchObject({ status: "completed", cancel_requested_at: null });
    expect(await store.row(goesOn.run_id)).toMatchObject({ status: "running", event_seq: 2, signals: 1 });
  });
});

// Fails when children are not marked, or when a paused child is not made due.
test("the end of a parent cancels its open children, and the next claim of each child returns the cancel", async () => {
  const parent = await store.startRun();
  const running = await startChild(store, parent.run_id, "running");
  const paused = await startChild(store, parent.run_id, "paused");
  await flush(store.sql, [parkEntry(paused, [humanWait("w")])]);
  const queued = await acceptChild(store, parent.run_id, "queued");
  await store.sql`update runs set wake_at = now() + interval '1 hour' where run_id = ${queued}`;
  const ended = await startChild(store, parent.run_id, "ended");
  await flush(store.sql, [endEntry(ended)]);
  const before = await store.row(ended.run_id);
  const grandchild = await acceptChild(store, running.run_id, "w");

  await flush(store.sql, [endEntry(parent, { status: "failed" })]);
  expect(await store.row(running.run_id)).toMatchObject({ status: "running", signals: 1 });
  for (const run of [paused.run_id, queued]) {
    expect(await store.row(run)).toMatchObject({ status: "queued", signals: 1 });
    expect(await store.claim(parent.owner, run)).toMatchObject({ cancel: true });
  }
  expect(await store.row(ended.run_id)).toEqual(before);
  expect(await store.row(grandchild)).toMatchObject({ cancel_requested_at: null });
  // One generation at a time: the grandchild is marked by the end of its own parent.
  const [marked] = await flush(store.sql, [endEntry(running, { status: "cancelled" })]);
  expect(marked).toMatchObject({ cancel: true });
  expect(await store.claim(parent.owner, grandchild)).toMatchObject({ cancel: true });
});
