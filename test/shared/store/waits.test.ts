import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { RunId } from "../../../shared/contracts/ids.ts";
import { flush } from "../../../shared/store/journal/flush.ts";
import { answerWait } from "../../../shared/store/runs/answer-wait.ts";
import { readWaits } from "../../../shared/store/runs/waits.ts";
import { endEntry, parkEntry, humanWait, readAllWaits } from "./family-fixture.ts";
import { acme, globex, openStore } from "./store-fixture.ts";
import type { Store } from "./store-fixture.ts";

let store: Store;
beforeAll(async () => {
  store = await openStore();
});
afterAll(() => store.close());

/** The states of a run's waits, as `<id> <state>`. */
const states = async (run: RunId) =>
  (await readAllWaits(store.sql, run)).map(({ wait_id, state }) => `${wait_id} ${state}`);
const answer = (run: RunId, wait: string, person = "ann", tenant: typeof acme | null = acme) =>
  answerWait(store.sql, { tenant, run, waitId: wait, answer: '{"yes":true}', by: person });

describe("a park", () => {
  // Fails when waits are inserted for all entries of a flush, not only for the committed ones.
  test("opens its waits, and a refused park opens none", async () => {
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

  // Fails when `wake_ms` alone sets the wake-up: the run would sleep past a wait's deadline.
  test("wakes its run at its first deadline at the latest, and the run reads which wait has expired", async () => {
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

  // Fails when an answer between the deadline and its read is not kept.
  test("takes a late answer until a worker has read the deadline as passed", async () => {
    const run = await store.startRun();
    await flush(store.sql, [parkEntry(run, [humanWait("w1", { deadline_ms: 1_000 })])]);
    await store.sql`update waits set deadline_at = now() - interval '1 second' where run_id = ${run.run_id}`;
    expect(await answer(run.run_id, "w1")).toMatchObject({ is: "answered" });
    expect(await states(run.run_id)).toEqual(["w1 answered"]);
  });

  // Fails when a park overwrites a wait that exists.
  test("leaves waits that exist unchanged", async () => {
    const run = await store.startRun();
    await flush(store.sql, [parkEntry(run, [humanWait("w1", { deadline_ms: 60_000 }), humanWait("w2")])]);
    await answer(run.run_id, "w2");
    const before = await store.sql`select * from waits where run_id = ${run.run_id} order by wait_id`;
    const claimed = { ...(await store.claim(run.owner, run.run_id)), owner: run.owner };
    const other = { prompt: "really?", deadline_ms: 1 };
    expect(
      await flush(store.sql, [parkEntry(claimed, [humanWait("w1", other), humanWait("w2", other)])]),
    ).toHaveLength(1);
    expect(await store.sql`select * from waits where run_id = ${run.run_id} order by wait_id`).toEqual(
      before,
    );
  });
});

describe("an answer", () => {
  // Fails when the run is not changed in the statement of the answer.
  test("makes a paused run due, and the run reads it", async () => {
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

  // Fails when an answer queues a running run: two workers would execute it.
  test("signals a running run without a change of its status, and returns the owner", async () => {
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

  // Fails when `answered_at is null` is not in its condition: the last answer would win, and each would be reported as accepted.
  test("is accepted once when many arrive at the same moment; the others get the id of its key", async () => {
    const run = await store.startRun();
    await flush(store.sql, [parkEntry(run, [humanWait("w1")])]);
    const names = Array.from({ length: 8 }, (_, n) => `n${n}`);
    const outcomes = await Promise.all(names.map((person) => answer(run.run_id, "w1", person)));
    const [wait] = await store.sql`select answered_by from waits where run_id = ${run.run_id}`;
    const winner = names.findIndex((_, n) => outcomes[n]?.is === "answered");
    expect(wait?.["answered_by"]).toBe(names[winner]);
    const taken = { is: "taken", by: names[winner], person: null, answer: '{"yes":true}', votes: [] };
    expect(outcomes.filter((_, n) => n !== winner)).toEqual(
      Array.from({ length: 7 }, () => expect.objectContaining(taken)),
    );
    expect(await store.row(run.run_id)).toMatchObject({ signals: 1 });
  });

  // Fails when the statement does not compare the tenant, the wait's id or the run's end.
  test("to a wait that does not exist, is another tenant's, or is of an ended run changes nothing", async () => {
    const run = await store.startRun();
    await flush(store.sql, [parkEntry(run, [humanWait("w1"), humanWait("w2")])]);
    const before = await store.row(run.run_id);
    expect(await answer(run.run_id, "w3")).toEqual({ is: "unknown" });
    expect(await answer(run.run_id, "w1", "bob", globex)).toEqual({ is: "unknown" });
    expect(await store.row(run.run_id)).toEqual(before);
    expect(await answer(run.run_id, "w1", "root", null)).toMatchObject({ is: "answered" });
    const claimed = { ...(await store.claim(run.owner, run.run_id)), owner: run.owner };
    await flush(store.sql, [endEntry(claimed)]);
    expect(await answer(run.run_id, "w2")).toEqual({ is: "ended" });
    expect(await answer(run.run_id, "w1")).toMatchObject({ is: "taken", by: "root" });
    expect(await states(run.run_id)).toEqual(["w1 answered", "w2 open"]);
  });
});

// Fails when readWaits returns more than the named waits: a loop would read all its earlier answers in each round.
test("a read of waits closes those that it names and whose deadline has passed, and no others", async () => {
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
