import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { claimRuns } from "../../../shared/store/runs/claim-runs.ts";
import { readRunSnapshots } from "../../../shared/store/runs/run-snapshots.ts";
import type { ClaimedRun } from "../../../shared/store/runs/claim-runs.ts";
import { flush } from "../../../shared/store/journal/flush.ts";
import { answerWait } from "../../../shared/store/runs/answer-wait.ts";
import {
  endEntry,
  parkEntry,
  startChild,
  countStrandedRuns,
  humanWait,
  childWait,
  readAllWaits,
} from "./relatives.ts";
import type { StartedRun } from "./relatives.ts";
import { acme, stepEntry, openStore } from "./world.ts";
import type { Store } from "./world.ts";

let store: Store;
// As many as make Postgres go by keys: in a table of a few pages a flush locks rows as it meets them.
beforeAll(async () => {
  store = await openStore();
  await store.sql`
    insert into runs (run_id, tenant_id, orchestration_id, definition_tenant, definition_version, status, attempt,
      correlation_id, input, ended_at)
    select 'run_' || lpad(to_hex(i), 12, '0') || '_' || 1780000000000 + i, 'acme', 'orch', 'acme', 1, 'completed', 1,
      'c', '{}', now() from generate_series(1, 20000) i`;
  await store.sql`analyze runs`;
});
afterAll(() => store.close());

const RUNS = 60;
const moment = () => sleep(Math.random() * 6);

/** A claim passes over a run that is not due yet, and over one that is being answered just now. */
async function claimWhenDue({ owner, run_id }: StartedRun): Promise<ClaimedRun> {
  for (let polls = 0; polls < 300; polls++) {
    const [claimed] = await claimRuns(store.sql, owner, [run_id]);
    if (claimed) return claimed;
    await sleep(10);
  }
  throw new Error("it sleeps for ever");
}

/** Works as a worker does: parks while something is unanswered, and decides again when that was refused. */
async function untilAnswered(run: StartedRun, woken: () => void): Promise<number> {
  let refusals = 0;
  let now = run;
  for (let decisions = 0; decisions < 20; decisions++) {
    const waits = await readAllWaits(store.sql, run.run_id);
    if (waits.length > 0 && waits.every((wait) => wait.state === "answered")) return refusals;
    await moment();
    const names = ["w1", "w2"].map((name) => humanWait(name));
    if ((await flush(store.sql, [parkEntry(now, names)])).length === 0) {
      refusals += 1;
      const [look] = await readRunSnapshots(store.sql, [run.run_id]);
      now = { ...now, signals: look?.signals ?? 0 };
      continue;
    }
    now = { ...(await claimWhenDue(run)), owner: run.owner };
    woken();
  }
  throw new Error("it decided again and again");
}

/** Answers as soon as there is something to answer. */
async function answerSoon(run: StartedRun, wait: string): Promise<void> {
  for (let tries = 0; tries < 300; tries++) {
    await moment();
    if (
      (await answerWait(store.sql, { tenant: acme, run: run.run_id, waitId: wait, answer: "1", by: "ann" }))
        .is === "answered"
    )
      return;
  }
  throw new Error("nobody asked");
}

// Red when: `signals` is not in the condition of a park, or an answer does not count there.
test(
  "no run sleeps when all it waits for is answered, whatever comes first",
  { timeout: 60_000 },
  async () => {
    const runs = await Promise.all(Array.from({ length: RUNS }, () => store.startRun()));
    const refusals = await Promise.all(
      runs.map(async (run, n) => {
        const woken = Promise.withResolvers<void>();
        // One of both wakes the run; the other comes at any time, or when it decides to sleep again.
        const first = answerSoon(run, "w1");
        const second = n % 2 === 0 ? answerSoon(run, "w2") : woken.promise.then(() => answerSoon(run, "w2"));
        const refused = await untilAnswered(run, woken.resolve);
        await Promise.all([first, second]);
        return refused;
      }),
    );
    expect(await countStrandedRuns(store)).toBe(0);
    // Each slept and was woken; some answers came between a decision to sleep and the park.
    expect(refusals.reduce((n, of) => n + of, 0)).toBeGreaterThan(0);
  },
);

// Red when: the child's end answers a wait only that it can see, or looks at it before the parent's row is its own.
test("a child's end and its parent's first park at the same moment leave the parent awake and answered", async () => {
  const pairs = await Promise.all(
    Array.from({ length: RUNS }, async () => {
      const parent = await store.startRun();
      return { parent, child: await startChild(store, parent.run_id, "w1") };
    }),
  );
  const parked = new Set<boolean>();
  await Promise.all(
    pairs.map(async ({ parent, child }) => {
      const [park] = await Promise.all([
        moment().then(() => flush(store.sql, [parkEntry(parent, [childWait("w1", child.run_id)])])),
        moment().then(() => flush(store.sql, [endEntry(child)])),
      ]);
      parked.add(park.length > 0);
      const row = await store.row(parent.run_id);
      expect(row).toMatchObject({ status: park.length > 0 ? "queued" : "running", signals: 1 });
      expect(await readAllWaits(store.sql, parent.run_id)).toMatchObject([{ state: "answered" }]);
    }),
  );
  expect(parked).toEqual(new Set([true, false]));
});

// Red when: a child's end overwrites the answer that it finds, which came after it had looked.
test("an answer and the end of the child at the same moment: one of them is the answer, and told so", async () => {
  const pairs = await Promise.all(
    Array.from({ length: RUNS }, async () => {
      const parent = await store.startRun();
      const child = await startChild(store, parent.run_id, "w1");
      await flush(store.sql, [parkEntry(parent, [childWait("w1", child.run_id)])]);
      return { parent: parent.run_id, child };
    }),
  );
  const winners = await Promise.all(
    pairs.map(async ({ parent, child }) => {
      const [said] = await Promise.all([
        moment().then(() =>
          answerWait(store.sql, { tenant: acme, run: parent, waitId: "w1", answer: "1", by: "limit" }),
        ),
        moment().then(() => flush(store.sql, [endEntry(child)])),
      ]);
      const [wait] = await store.sql`select answered_by from waits where run_id = ${parent}`;
      expect(wait?.["answered_by"]).toBe(said.is === "answered" ? "limit" : child.run_id);
      expect(await store.row(parent)).toMatchObject({ status: "queued" });
      return said.is;
    }),
  );
  expect(new Set(winners)).toEqual(new Set(["answered", "taken"]));
});

// Red when: the rows are not locked before the first is changed, or in any other order than that of their ids.
test("workers whose flushes end children of the same parents do not wait for each other in a circle", async () => {
  for (let round = 0; round < 4; round++) {
    const parents = await Promise.all(Array.from({ length: 10 }, () => store.startRun()));
    const broods = await Promise.all(
      ["w1", "w2", "w3", "w4", "w5", "w6"].map((wait) =>
        Promise.all(parents.map((parent) => startChild(store, parent.run_id, wait))),
      ),
    );
    const flushes = broods.map((brood) =>
      flush(
        store.sql,
        brood.map((child) => endEntry(child)),
      ),
    );
    const own = flush(
      store.sql,
      parents.map((parent) => stepEntry(parent)),
    );
    for (const committed of await Promise.all([own, ...flushes])) expect(committed).toHaveLength(10);
  }
});
