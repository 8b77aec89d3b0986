import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { RunId } from "../../../shared/contracts/ids.ts";
import { flush } from "../../../shared/store/journal/flush.ts";
import { answerWait } from "../../../shared/store/runs/answer-wait.ts";
import { readWaits } from "../../../shared/store/runs/waits.ts";
import { endEntry, parkEntry, humanWait, readAllWaits } from "./relatives.ts";
import { acme, globex, openStore } from "./world.ts";
import type { Store } from "./world.ts";

let store: Store;
beforeAll(async () => {
  store = await openStore();
});
afterAll(() => store.close());

const states = async (run: RunId) =>
  (await readAllWaits(store.sql, run)).map(({ wait_id, state }) => `${wait_id} ${state}`);
const answer = (run: RunId, wait: string, by = "ann", tenant: typeof acme | null = acme) =>
  answerWait(store.sql, { tenant, run, waitId: wait, answer: '{"yes":true}', by });

describe("a park", () => {
  // Red when: waits are written for all entries of a flush, not for those that were committed.
  test("opens its waits, or is refused with them", async () => {
    const [run, refused] = [await store.startRun(), await store.startRun()];
    await store.sql`update runs set signals = 1 where run_id = ${refused.run_id}`;
    const waits = [humanWait("w1", { fields: "[]", deadline_ms: 60_000 }), humanWait("w2")];
    expect(await flush(store.sql, [parkEntry(run, waits), parkEntry(refused, waits)])).toHaveLength(1);
    expect(await store.row(run.run_id)).toMatchObject({ status: "paused", owner: null });
    expect(await readAllWaits(store.sql, run.run_id)).toEqual([
      expect.objectContaining({ wait_id: "w1", state: "open", answer: null }),
      expect.objectContaining({ wait_id: "w2", state: "open", due_in_ms: null }),
    ]);
    expect(await readAllWaits(store.sql, refused.run_id)).toEqual([]);
  });

  // Red when: `wake_ms` is taken as it is: the run would sleep past its limit.
  test("wakes at the latest when its first wait is overdue, and finds which that is", async () => {
    const run = await store.startRun();
    const waits = [humanWait("late", { deadline_ms: 90_000 }), humanWait("soon", { deadline_ms: 1_000 })];
    await flush(store.sql, [parkEntry(run, waits)]);
    const [row] =
      await store.sql`select extract(epoch from wake_at - now())::float8 as s from runs where run_id = ${run.run_id}`;
    expect(row?.s).toBeLessThanOrEqual(1);
    await store.sql`update waits set deadline_at = deadline_at - interval '2 seconds' where run_id = ${run.run_id}`;
    await store.sql`update runs set wake_at = wake_at - interval '2 seconds' where run_id = ${run.run_id}`;
    await store.claim(run.owner, run.run_id);
    expect(await states(run.run_id)).toEqual(["late open", "soon expired"]);
    expect(await answer(run.run_id, "soon")).toMatchObject({ is: "taken", by: "deadline" });
    await answer(run.run_id, "late");
    expect(await states(run.run_id)).toEqual(["late answered", "soon expired"]);
  });

  // Red when: who asks for one wait gets them all: a loop's answers would be read again with each of its rounds.
  test("finds what it asks for, and closes nothing else", async () => {
    const run = await store.startRun();
    await flush(store.sql, [
      parkEntry(
        run,
        ["w1", "w2"].map((id) => humanWait(id, { deadline_ms: 1_000 })),
      ),
    ]);
    await store.sql`update waits set deadline_at = now() - interval '1 second' where run_id = ${run.run_id}`;
    expect(await readWaits(store.sql, run.run_id, ["w1", "w9"])).toMatchObject([
      { wait_id: "w1", state: "expired" },
    ]);
    const open =
      await store.sql`select wait_id from waits where run_id = ${run.run_id} and answered_at is null`;
    expect(open).toEqual([{ wait_id: "w2" }]);
  });

  // Red when: an answer that comes between the deadline and the look at it is not kept.
  test("takes an answer that comes late, as long as nobody has acted on the deadline", async () => {
    const run = await store.startRun();
    await flush(store.sql, [parkEntry(run, [humanWait("w1", { deadline_ms: 1_000 })])]);
    await store.sql`update waits set deadline_at = now() - interval '1 second' where run_id = ${run.run_id}`;
    expect(await answer(run.run_id, "w1")).toMatchObject({ is: "answered" });
    expect(await states(run.run_id)).toEqual(["w1 answered"]);
  });

  // Red when: a park overwrites the wait that it finds.
  test("leaves waits as they are that it finds", async () => {
    const run = await store.startRun();
    await flush(store.sql, [parkEntry(run, [humanWait("w1", { deadline_ms: 60_000 }), humanWait("w2")])]);
    await answer(run.run_id, "w2");
    const before = await store.sql`select * from waits where run_id = ${run.run_id} order by wait_id`;
    const again = { ...(await store.claim(run.owner, run.run_id)), owner: run.owner };
    const other = { prompt: "really?", deadline_ms: 1 };
    expect(
      await flush(store.sql, [parkEntry(again, [humanWait("w1", other), humanWait("w2", other)])]),
    ).toHaveLength(1);
    expect(await store.sql`select * from waits where run_id = ${run.run_id} order by wait_id`).toEqual(
      before,
    );
  });
});

describe("an answer", () => {
  // Red when: the run's change is not in the statement of the answer.
  test("makes a run due that sleeps, and is found by it", async () => {
    const run = await store.startRun();
    await flush(store.sql, [parkEntry(run, [humanWait("w1")])]);
    expect(await answer(run.run_id, "w1")).toMatchObject({
      is: "answered",
      run: { run_id: run.run_id, tenant_id: acme, status: "queued", owner: null, lane: "default" },
    });
    expect(await store.row(run.run_id)).toMatchObject({ status: "queued", signals: 1 });
    expect((await store.claim(run.owner, run.run_id)).signals).toBe(1);
    expect(await readAllWaits(store.sql, run.run_id)).toEqual([
      expect.objectContaining({ state: "answered", answer: '{"yes":true}' }),
    ]);
  });

  // Red when: a run that runs is queued by its answer: two workers would have it.
  test("lets a run go on that runs, and says whose it is", async () => {
    const run = await store.startRun();
    await flush(store.sql, [parkEntry(run, [humanWait("w1"), humanWait("w2")])]);
    await answer(run.run_id, "w1");
    await store.claim(run.owner, run.run_id);
    const before = await store.row(run.run_id);
    expect(await answer(run.run_id, "w2")).toMatchObject({
      is: "answered",
      run: { status: "running", owner: run.owner },
    });
    expect(await store.row(run.run_id)).toEqual({ ...before, signals: 2 });
  });

  // Red when: `answered_at is null` is not in its condition: the last would win, and each be told that it had.
  test("is one of many that come at once, and the others learn whose it was", async () => {
    const run = await store.startRun();
    await flush(store.sql, [parkEntry(run, [humanWait("w1")])]);
    const names = Array.from({ length: 8 }, (_, n) => `n${n}`);
    const outcomes = await Promise.all(names.map((by) => answer(run.run_id, "w1", by)));
    const [wait] = await store.sql`select answered_by from waits where run_id = ${run.run_id}`;
    const winner = names.findIndex((_, n) => outcomes[n]?.is === "answered");
    expect(wait?.["answered_by"]).toBe(names[winner]);
    const taken = { is: "taken", by: names[winner], answer: '{"yes":true}' };
    expect(outcomes.filter((_, n) => n !== winner)).toEqual(Array.from({ length: 7 }, () => taken));
    expect(await store.row(run.run_id)).toMatchObject({ signals: 1 });
  });

  // Red when: the tenant, the wait's name or the run's end is not asked for.
  test("to a wait that does not exist, or is another's, or of a run that has ended, changes nothing", async () => {
    const run = await store.startRun();
    await flush(store.sql, [parkEntry(run, [humanWait("w1"), humanWait("w2")])]);
    const before = await store.row(run.run_id);
    expect(await answer(run.run_id, "w3")).toEqual({ is: "unknown" });
    expect(await answer(run.run_id, "w1", "bob", globex)).toEqual({ is: "unknown" });
    expect(await store.row(run.run_id)).toEqual(before);
    expect(await answer(run.run_id, "w1", "root", null)).toMatchObject({ is: "answered" });
    const again = { ...(await store.claim(run.owner, run.run_id)), owner: run.owner };
    await flush(store.sql, [endEntry(again)]);
    expect(await answer(run.run_id, "w2")).toEqual({ is: "ended" });
    expect(await answer(run.run_id, "w1")).toMatchObject({ is: "taken", by: "root" });
    expect(await states(run.run_id)).toEqual(["w1 answered", "w2 open"]);
  });
});
