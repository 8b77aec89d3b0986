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
  readAllWaits as readAll,
} from "./relatives.ts";
import type { StartedRun } from "./relatives.ts";
import { stepEntry, openStore } from "./world.ts";
import type { Store } from "./world.ts";

let store: Store;
beforeAll(async () => {
  store = await openStore();
});
afterAll(() => store.close());

/** A parent that sleeps until its running children have ended. */
async function sleeping(waits: string[]): Promise<{ parent: StartedRun; children: StartedRun[] }> {
  const parent = await store.startRun();
  const children = await Promise.all(waits.map((wait) => startChild(store, parent.run_id, wait)));
  const opened = children.map((child, n) => childWait(waits[n] ?? "", child.run_id));
  await flush(store.sql, [parkEntry(parent, opened)]);
  return { parent, children };
}

/** One that `sleeping` has made. */
function only<Item>([item]: readonly Item[]): Item {
  if (item === undefined) throw new Error("there is none");
  return item;
}

const waitsOf = (run: RunId) =>
  store.sql`select wait_id, kind, child_run_id, answer, answered_by, answered_at is not null as answered
    from waits where run_id = ${run} order by wait_id`.then((rows) => rows.map((row) => ({ ...row })));

describe("a child's end", () => {
  // Red when: the answer is not in the statement of the end, or is given again for an entry that is fenced.
  test("answers its parent's wait and makes it due, once, however often the flush is repeated", async () => {
    const { parent, children } = await sleeping(["w1"]);
    const child = only(children);
    const end = endEntry(child);
    expect(await flush(store.sql, [end])).toHaveLength(1);
    const [row, waits] = [await store.row(parent.run_id), await readAll(store.sql, parent.run_id)];
    expect(row).toMatchObject({ status: "queued", signals: 1, cancel_requested_at: null });
    expect(waits).toEqual([
      expect.objectContaining({ state: "answered", answer: COMPLETED, answered_by: child.run_id }),
    ]);
    const told = await waitsOf(parent.run_id);
    for (let n = 0; n < 3; n++) expect(await flush(store.sql, [end])).toEqual([]);
    expect(await store.row(parent.run_id)).toEqual(row);
    expect(await waitsOf(parent.run_id)).toEqual(told);
    await store.claim(parent.owner, parent.run_id);
  });

  // Red when: an answer is given that is there already, or a wake-up without an answer.
  test("after a retry changes neither the answer nor the parent", async () => {
    const { parent, children } = await sleeping(["w1"]);
    const child = only(children);
    await flush(store.sql, [endEntry(child, { status: "failed", output: '{"status":"failed"}' })]);
    await store.sql`update runs set status = 'running', owner = ${child.owner}, wake_at = now(), ended_at = null
      where run_id = ${child.run_id}`;
    const before = await store.row(parent.run_id);
    expect(await flush(store.sql, [endEntry(child, { known_seq: 2 })])).toHaveLength(1);
    expect(await store.row(parent.run_id)).toEqual(before);
    expect(await waitsOf(parent.run_id)).toMatchObject([{ answer: '{"status":"failed"}' }]);
  });

  test("lets a parent go on that runs, and one that has ended be", async () => {
    const [running, ended] = [await sleeping(["w1", "w2"]), await sleeping(["w1", "w2"])];
    for (const { parent, children } of [running, ended]) {
      await flush(store.sql, [endEntry(only(children))]);
      Object.assign(parent, await store.claim(parent.owner, parent.run_id));
    }
    await flush(store.sql, [endEntry(ended.parent)]);
    const before = [await store.row(running.parent.run_id), await store.row(ended.parent.run_id)];
    const second = [running, ended].map(({ children }) => endEntry(only(children.slice(1))));
    // The one whose parent has ended was marked, which is no part of the fence.
    expect(await flush(store.sql, second)).toHaveLength(2);
    expect(await store.row(running.parent.run_id)).toEqual({ ...before[0], signals: 2 });
    expect(await store.row(ended.parent.run_id)).toEqual(before[1]);
    // A retry of the parent would wait for it for ever otherwise.
    expect(await waitsOf(ended.parent.run_id)).toMatchObject([{ answered: true }, { answered: true }]);
  });

  // Red when: relatives are not grouped, or only one wait of a parent is answered.
  test("beside that of its siblings, in one flush, answers all waits of the parent", async () => {
    const { parent, children } = await sleeping(["w1", "w2", "w3"]);
    expect(
      await flush(
        store.sql,
        children.map((child) => endEntry(child)),
      ),
    ).toHaveLength(3);
    expect(await waitsOf(parent.run_id)).toMatchObject(
      children.map((child) => ({ child_run_id: child.run_id, answered: true })),
    );
    expect(await store.row(parent.run_id)).toMatchObject({ status: "queued", signals: 1 });
  });

  // Red when: waits are found through the parent alone.
  test("answers also who waits for it and has not started it", async () => {
    const [turn, before] = [await store.startRun(), await store.startRun()];
    await flush(store.sql, [
      parkEntry(turn, [humanWait("previous", { kind: "turn", child_run_id: before.run_id })]),
    ]);
    await flush(store.sql, [endEntry(before)]);
    expect(await store.row(turn.run_id)).toMatchObject({ status: "queued", signals: 1 });
    expect(await waitsOf(turn.run_id)).toMatchObject([{ kind: "turn", answer: COMPLETED, answered: true }]);
  });
});

describe("one flush with entries of a parent and a child", () => {
  // Red when: the parent's row is changed twice, of which Postgres makes one: its result or its signal would be lost.
  test("commits the parent's result and tells it of the child's end", async () => {
    const parent = await store.startRun();
    const child = await startChild(store, parent.run_id, "w1");
    const committed = await flush(store.sql, [stepEntry(parent), endEntry(child)]);
    expect(committed.find(({ run_id }) => run_id === parent.run_id)).toMatchObject({
      event_seq: 2,
      signals: 1,
    });
    expect(committed).toHaveLength(2);
    expect(await store.row(parent.run_id)).toMatchObject({ status: "running", event_seq: 2, signals: 1 });
    expect(await waitsOf(parent.run_id)).toMatchObject([{ kind: "child", answered: true }]);
  });

  // Red when: the park is taken: all its waits would be answered, and it asleep.
  test("refuses a park that has missed the child's end", async () => {
    const parent = await store.startRun();
    const child = await startChild(store, parent.run_id, "w1");
    const park = parkEntry(parent, [childWait("w1", child.run_id)]);
    expect((await flush(store.sql, [park, endEntry(child)])).map(({ run_id }) => run_id)).toEqual([
      child.run_id,
    ]);
    expect(await store.row(parent.run_id)).toMatchObject({ status: "running", event_seq: 0, signals: 1 });
  });

  // Red when: an end is refused, or marked, for the sake of the other.
  test("ends both, and cancels a child that goes on", async () => {
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

// Red when: children are not marked, or one that waits is left asleep.
test("the end of a parent is a cancel for its open children, which whoever claims them next finds", async () => {
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
  // One generation at a time: it is told by the end of its own parent.
  const [marked] = await flush(store.sql, [endEntry(running, { status: "cancelled" })]);
  expect(marked).toMatchObject({ cancel: true });
  expect(await store.claim(parent.owner, grandchild)).toMatchObject({ cancel: true });
});
