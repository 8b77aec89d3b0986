import { afterAll, beforeAll, expect, test } from "vitest";
import { Lane } from "../../../shared/contracts/run.ts";
import { flush } from "../../../shared/store/journal/flush.ts";
import { beat } from "../../../shared/store/workers/beats.ts";
import { listWorkers } from "../../../shared/store/workers/worker-rows.ts";
import { onlineBeat, stepEntry, openStore } from "./world.ts";
import type { Store } from "./world.ts";

let store: Store;

beforeAll(async () => {
  store = await openStore();
});
afterAll(() => store.close());

// Red when: the list of the beat leaves out a run, or names one that is another's or has ended.
test("a beat answers what its worker owns, and nothing else", async () => {
  const [mine, ended] = [await store.startRun(), await store.startRun()];
  await store.startRun();
  const second = await store.claim(mine.owner, await store.accept());
  await flush(store.sql, [stepEntry(ended, { kind: "end", status: "completed" })]);
  await store.sql`update runs set signals = 2, cancel_requested_at = now() where run_id = ${mine.run_id}`;
  const owned = await beat(store.sql, onlineBeat(mine.owner));
  expect(new Set(owned.map(({ run_id }) => run_id))).toEqual(new Set([mine.run_id, second.run_id]));
  expect(owned.find(({ run_id }) => run_id === mine.run_id)).toMatchObject({
    attempt: 1,
    signals: 2,
    cancel: true,
  });
  expect(await beat(store.sql, onlineBeat(ended.owner))).toEqual([]);
});

// Red when: a beat does not carry the lanes, or only a worker's first one does.
test("a beat says which lanes its worker serves", async () => {
  const owner = await store.addWorker();
  const lanes = async () =>
    (await listWorkers(store.sql)).find(({ incarnation }) => incarnation === owner)?.lanes;
  expect(await lanes()).toEqual(Lane.options);
  await beat(store.sql, { ...onlineBeat(owner), lanes: ["mail", "bulk"] });
  expect(await lanes()).toEqual(["mail", "bulk"]);
});

test("a beat ends a silence", async () => {
  const run = await store.startRun();
  await store.ageBeat(run.owner, 100);
  expect((await listWorkers(store.sql)).find(({ incarnation }) => incarnation === run.owner)?.status).toBe(
    "offline",
  );
  await beat(store.sql, { ...onlineBeat(run.owner), status: "draining", active: 3 });
  expect((await listWorkers(store.sql)).find(({ incarnation }) => incarnation === run.owner)).toMatchObject({
    status: "draining",
    active: 3,
  });
});
