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
  countPausedWithoutOpenWait,
  humanWait,
  childWait,
  readAllWaits,
} from "./family-fixture.ts";
import type { StartedRun } from "./family-fixture.ts";
import { pace, until } from "../../services/waiting.ts";
import { acme, stepEntry, openStore } from "./store-fixture.ts";
import type { Store } from "./store-fixture.ts";

let store: Store;
// With this many rows Postgres goes by keys. In a table of a few pages a flush locks rows in the order in which it reads them.
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
const randomMoment = () => pace(Math.random() * 6);

/** Claims a run once it is due. A claim skips a run that is not due yet, or that is locked by an answer. */
async function claimWhenDue({ owner, run_id }: StartedRun): Promise<ClaimedRun> {
  const claims: ClaimedRun[] = [];
  await until(
    "the run is due",
    async () => claims.push(...(await claimRuns(store.sql, owner, [run_id]))) > 0,
  );
  const [claimed] = claims;
  if (!claimed) throw new Error("the run was not claimed");
  return claimed;
}

/**
 * Does what a worker does: parks the run while a wait is open, and decides again when the park is refused.
 * @param beforePark called once the run has been woken, between a decision to park and the park
 * @returns the number of refused parks
 */
async function untilAnswered(
  run: StartedRun,
  onWake: () => void,
  beforePark: () => Promise<void> = randomMoment,
): Promise<number> {
  let refusals = 0;
  let current = run;
  for (let decisions = 0; decisions < 20; decisions++) {
    const open = await readAllWaits(store.sql, run.run_id);
    if (open.length > 0 && open.every((wait) => wait.state === "answered")) return refusals;
    await (decisions === 1 ? beforePark() : randomMoment());
    const waits = ["w1", "w2"].map((name) => humanWait(name));
    if ((await flush(store.sql, [parkEntry(current, waits)])).length === 0) {
      refusals += 1;
      const [snapshot] = await readRunSnapshots(store.sql, [run.run_id]);
      current = { ...current, signals: snapshot?.signals ?? 0 };
      continue;
    }
    current = { ...(await claimWhenDue(run)), owner: run.owner };
    onWake();
  }
  throw new Error("the run was not answered within 20 decisions");
}

/** Answers a wait as soon as it is open. */
async function answerSoon(run: StartedRun, wait: string): Promise<void> {
  const answer = { tenant: acme, run: run.run_id, waitId: wait, answer: "1", by: "ann" };
  await until("the wait is open", async () => {
    await randomMoment();
    return (await answerWait(store.sql, answer)).is === "answered";
  });
}

// Fails when `signals` is not in the condition of a park, or when an answer does not increase it.
test("no run stays paused when all its waits are answered, in whatever order parks and answers come", async () => {
  const runs = await Promise.all(Array.from({ length: RUNS }, () => store.startRun()));
  const refusals = await Promise.all(
    runs.map(async (run, n) => {
      const woken = Promise.withResolvers<void>();
      // One answer wakes the run. The other comes at any time, or when the run decides again whether to park.
      const first = answerSoon(run, "w1");
      // One run decides to park again, and its second answer comes before the park. For the others chance decides.
      if (n === 0) {
        const refused = await untilAnswered(run, woken.resolve, () => answerSoon(run, "w2"));
        await first;
        return refused;
      }
      const second = n % 2 === 0 ? answerSoon(run, "w2") : woken.promise.then(() => answerSoon(run, "w2"));
      const refused = await untilAnswered(run, woken.resolve);
      await Promise.all([first, second]);
      return refused;
    }),
  );
  expect(await countPausedWithoutOpenWait(store)).toBe(0);
  // Some answers came between the decision to park and the park.
  expect(refusals.reduce((n, of) => n + of, 0)).toBeGreaterThan(0);
});

// Fails when the child's end answers only a wait that its snapshot shows, or reads the wait before it has locked the parent's row.
test("a child's end at the same moment as its parent's first park leaves the parent queued or running, and answered", async () => {
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
        randomMoment().then(() => flush(store.sql, [parkEntry(parent, [childWait("w1", child.run_id)])])),
        randomMoment().then(() => flush(store.sql, [endEntry(child)])),
      ]);
      parked.add(park.length > 0);
      const row = await store.row(parent.run_id);
      expect(row).toMatchObject({ status: park.length > 0 ? "queued" : "running", signals: 1 });
      expect(await readAllWaits(store.sql, parent.run_id)).toMatchObject([{ state: "answered" }]);
    }),
  );
  expect(parked).toEqual(new Set([true, false]));
});

// Fails when a child's end overwrites an answer that came after its snapshot.
test("when an answer and the child's end come at the same moment, one of them becomes the answer, and only that one is reported as accepted", async () => {
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
      const [outcome] = await Promise.all([
        randomMoment().then(() =>
          answerWait(store.sql, { tenant: acme, run: parent, waitId: "w1", answer: "1", by: "limit" }),
        ),
        randomMoment().then(() => flush(store.sql, [endEntry(child)])),
      ]);
      const [wait] = await store.sql`select answered_by from waits where run_id = ${parent}`;
      expect(wait?.["answered_by"]).toBe(outcome.is === "answered" ? "limit" : child.run_id);
      expect(await store.row(parent)).toMatchObject({ status: "queued" });
      return outcome.is;
    }),
  );
  expect(new Set(winners)).toEqual(new Set(["answered", "taken"]));
});

// Fails when the rows are not locked before the first is changed, or not in the order of their ids.
test("flushes that end children of the same parents do not deadlock", async () => {
  for (let round = 0; round < 4; round++) {
    const parents = await Promise.all(Array.from({ length: 10 }, () => store.startRun()));
    const siblings = await Promise.all(
      ["w1", "w2", "w3", "w4", "w5", "w6"].map((wait) =>
        Promise.all(parents.map((parent) => startChild(store, parent.run_id, wait))),
      ),
    );
    const flushes = siblings.map((children) =>
      flush(
        store.sql,
        children.map((child) => endEntry(child)),
      ),
    );
    const parentFlush = flush(
      store.sql,
      parents.map((parent) => stepEntry(parent)),
    );
    for (const committed of await Promise.all([parentFlush, ...flushes])) expect(committed).toHaveLength(10);
  }
});
