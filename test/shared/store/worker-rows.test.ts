import { afterAll, beforeAll, expect, test } from "vitest";
import { Lane } from "../../../shared/contracts/run.ts";
import { flush } from "../../../shared/store/journal/flush.ts";
import { beat } from "../../../shared/store/workers/beats.ts";
import { listWorkers } from "../../../shared/store/workers/worker-rows.ts";
import { onlineBeat, stepEntry, openStore } from "./store-fixture.ts";
import type { Store } from "./store-fixture.ts";

let store: Store;

beforeAll(async () => {
  store = await openStore();
});
afterAll(() => store.close());

// Fails when the beat's list leaves out a run, or has one of another owner or an ended one.
test("a beat returns the running runs that its worker owns, and no others", async () => {
  const [owned, ended] = [await store.startRun(), await store.startRun()];
  await store.startRun();
  const second = await store.claim(owned.owner, await store.accept());
  await flush(store.sql, [stepEntry(ended, { kind: "end", status: "completed" })]);
  await store.sql`update runs set signals = 2, cancel_requested_at = now() where run_id = ${owned.run_id}`;
  const { owned: reported } = await beat(store.sql, onlineBeat(owned.owner));
  expect(new Set(reported.map(({ run_id }) => run_id))).toEqual(new Set([owned.run_id, second.run_id]));
  expect(reported.find(({ run_id }) => run_id === owned.run_id)).toMatchObject({
    attempt: 1,
    signals: 2,
    cancel: true,
  });
  expect(await beat(store.sql, onlineBeat(ended.owner))).toEqual({
    silences: 0,
    drain: false,
    lanes: {},
    settings: [],
    owned: [],
  });
});

// Fails when a silence is not counted, or a beat in time counts as one.
test("a beat that ends a silence counts it", async () => {
  const owner = await store.addWorker();
  const silencesAfter = async (seconds: number) => {
    await store.ageBeat(owner, seconds);
    return (await beat(store.sql, onlineBeat(owner))).silences;
  };
  expect(await silencesAfter(10)).toBe(0);
  expect(await silencesAfter(12)).toBe(1);
  expect(await silencesAfter(0)).toBe(1);
  expect(await silencesAfter(100)).toBe(2);
});

// Fails when a beat does not save the lanes, or only a worker's first one does.
test("a beat saves the lanes that its worker serves", async () => {
  const owner = await store.addWorker();
  const lanes = async () =>
    (await listWorkers(store.sql, null, 1_000)).find(({ incarnation }) => incarnation === owner)?.lanes;
  expect(await lanes()).toEqual(Lane.options);
  await beat(store.sql, { ...onlineBeat(owner), lanes: ["mail", "bulk"] });
  expect(await lanes()).toEqual(["mail", "bulk"]);
});

test("a beat ends the silence of its worker", async () => {
  const run = await store.startRun();
  await store.ageBeat(run.owner, 100);
  expect(
    (await listWorkers(store.sql, null, 1_000)).find(({ incarnation }) => incarnation === run.owner)?.status,
  ).toBe("offline");
  await beat(store.sql, { ...onlineBeat(run.owner), status: "draining", active: 3 });
  expect(
    (await listWorkers(store.sql, null, 1_000)).find(({ incarnation }) => incarnation === run.owner),
  ).toMatchObject({
    status: "draining",
    active: 3,
  });
});
