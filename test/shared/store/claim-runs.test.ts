import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { newIncarnation, newRunId } from "../../../shared/contracts/ids.ts";
import { claimRuns, handBack, readInput } from "../../../shared/store/runs/claim-runs.ts";
import { readRunSnapshots } from "../../../shared/store/runs/run-snapshots.ts";
import { readStoredPage } from "../../../shared/store/journal/read-journal.ts";
import { readPinnedDefinition } from "../../../shared/store/definitions/orchestrations.ts";
import { flush } from "../../../shared/store/journal/flush.ts";
import { beat } from "../../../shared/store/workers/beats.ts";
import { acme, onlineBeat, stepEntry, openStore } from "./store-fixture.ts";
import type { Store } from "./store-fixture.ts";

let store: Store;

beforeAll(async () => {
  store = await openStore();
});
afterAll(() => store.close());

const claim = async (owner: string, ...runs: Parameters<typeof claimRuns>[2]) =>
  (await claimRuns(store.sql, owner, runs)).map(({ run_id }) => run_id);

const silentAfter = (owner: string, seconds: number) =>
  store.sql`update workers set silent_after = ${seconds} * interval '1 second' where incarnation = ${owner}`;

describe("a claim", () => {
  test("of a due run increases its attempt and makes the claimer its owner", async () => {
    const [run, owner] = [await store.accept(), await store.addWorker()];
    const claimed = await store.claim(owner, run);
    expect(claimed).toMatchObject({ attempt: 1, event_seq: 0, crash_count: 0, cancel: false });
    expect(await store.row(run)).toMatchObject({ status: "running", owner, attempt: 1 });
    const [row] =
      await store.sql`select extract(epoch from deadline_at - now())::float8 as s from runs where run_id = ${run}`;
    expect(row?.s).toBeGreaterThan(55);
  });

  test("gets a run that is due within 2 s, and no run that is due later", async () => {
    const owner = await store.addWorker();
    const [later, soon] = [await store.accept({ delay_ms: 60_000 }), await store.accept({ delay_ms: 1_500 })];
    expect(await claim(owner, later, soon)).toEqual([soon]);
  });

  // Fails when the statement does not compare the silences, or not whether the owner is silent at this moment: its beat may
  // arrive after it.
  test("gets nothing for a worker that was silent more often than it knows, or is silent", async () => {
    const [run, owner] = [await store.accept(), await store.addWorker()];
    const claimKnowing = async (silences: number) =>
      (await claimRuns(store.sql, owner, [run], silences)).map(({ run_id }) => run_id);
    await store.ageBeat(owner, 12);
    expect(await claimKnowing(0)).toEqual([]);
    await beat(store.sql, onlineBeat(owner));
    expect(await claimKnowing(0)).toEqual([]);
    expect(await claimRuns(store.sql, newIncarnation("unknown"), [run], 0)).toEqual([]);
    expect(await claimKnowing(1)).toEqual([run]);
  });

  test("gets no run that has ended or does not exist", async () => {
    const run = await store.startRun();
    await flush(store.sql, [stepEntry(run, { kind: "end", status: "failed" })]);
    expect(await claim(run.owner, run.run_id, newRunId(Date.now()))).toEqual([]);
  });

  // Fails when the claim does not read the owner's beat, or does not compare it with the time that the owner named.
  test("takes a run over from an owner that is silent or has no row, from no other, and counts a crash", async () => {
    const [fresh, silent, unknown] = [await store.startRun(), await store.startRun(), await store.startRun()];
    await silentAfter(fresh.owner, 4);
    await store.ageBeat(fresh.owner, 2);
    await silentAfter(silent.owner, 1);
    await store.ageBeat(silent.owner, 2);
    await store.sql`delete from workers where incarnation = ${unknown.owner}`;
    const next = await store.addWorker("next");
    const taken = await claim(next, fresh.run_id, silent.run_id, unknown.run_id);
    expect(new Set(taken)).toEqual(new Set([silent.run_id, unknown.run_id]));
    expect(await store.row(unknown.run_id)).toMatchObject({ attempt: 2, crash_count: 1, owner: next });
  });

  // Fails when a silence is counted from the last beat alone: a Postgres that has just started has received no beats.
  test("takes no run over while Postgres has not been up for as long as a silence takes", async () => {
    const run = await store.startRun();
    const [row] = await store.sql<{ s: number }[]>`
      select extract(epoch from now() - pg_postmaster_start_time())::float8 as s`;
    const upForS = row?.s ?? 0;
    await silentAfter(run.owner, upForS + 60);
    await store.ageBeat(run.owner, upForS + 120);
    expect(await claim(await store.addWorker(), run.run_id)).toEqual([]);
  });

  // Fails when rows are not locked before they are updated, or when a claim waits for locked rows.
  test("by eight workers at once gives each run to one of them", async () => {
    const runs = await Promise.all(Array.from({ length: 40 }, () => store.accept()));
    const owners = await Promise.all(Array.from({ length: 8 }, () => store.addWorker()));
    const claimed = (await Promise.all(owners.map((owner) => claim(owner, ...runs)))).flat();
    expect(claimed.length).toBe(new Set(claimed).size);
    const attempts =
      await store.sql`select max(attempt)::int as most from runs where run_id in ${store.sql(runs)}`;
    expect(attempts[0]?.most).toBe(1);
    expect(await claim(await store.addWorker(), ...runs)).toEqual(
      runs.filter((run) => !claimed.includes(run)),
    );
  });

  // Fails when a claim, which may be of many runs, loads their journals or long inputs.
  test("returns the size of the journal and not the journal, and a long input only when it is asked for", async () => {
    const input = JSON.stringify({ message: "x".repeat(70_000), state: {} });
    const run = await store.startRun({ input });
    await flush(store.sql, [stepEntry(run, { output: '{"a":"ä"}' })]);
    await flush(store.sql, [stepEntry(run, { kind: "note", known_seq: 2, output: null, steps: 0 })]);
    await handBack(store.sql, run.owner, [run]);
    const second = await store.claim(await store.addWorker(), run.run_id);
    const events = Buffer.byteLength(stepEntry(run).events);
    expect(second).toMatchObject({ attempt: 2, event_seq: 4, crash_count: 0, input: null });
    expect(second.journal_bytes).toBe(2 * events + Buffer.byteLength('{"a":"ä"}'));
    expect(second.running_for_ms).toBeGreaterThan(0);
    expect(JSON.stringify(second).length).toBeLessThan(1_000);
    expect(await readInput(store.sql, run.run_id)).toBe(input);
  });
});

describe("a journal as a fold reads it", () => {
  const numbersOf = (entries: readonly { seq: number; kind: string }[]) =>
    entries.map(({ seq, kind }) => [seq, kind]);

  test("has no notes and no events, in order, up to the number that the reader names", async () => {
    const run = await store.startRun();
    await flush(store.sql, [stepEntry(run)]);
    await flush(store.sql, [stepEntry(run, { kind: "note", known_seq: 2, output: null, steps: 0 })]);
    await flush(store.sql, [stepEntry(run, { kind: "turn", known_seq: 4, steps: 0 })]);
    const page = await readStoredPage(store.sql, run.run_id, 0, 6);
    expect([numbersOf(page.entries), page.more]).toEqual([
      [
        [2, "step"],
        [6, "turn"],
      ],
      false,
    ]);
    expect(numbersOf((await readStoredPage(store.sql, run.run_id, 0, 5)).entries)).toEqual([[2, "step"]]);
    expect(numbersOf((await readStoredPage(store.sql, run.run_id, 2, 6)).entries)).toEqual([[6, "turn"]]);
  });

  // Fails when a result whose value is stored in an event alone is read without that event.
  test("has the events of an output that refers to them", async () => {
    const run = await store.startRun();
    const [output, events] = ['{"set_from":{"out":{"line":1,"field":"text"}}}', '{"text":"long"}'];
    await flush(store.sql, [stepEntry(run, { output, events, events_n: 1 })]);
    const { entries } = await readStoredPage(store.sql, run.run_id, 0, 1);
    expect(entries).toEqual([{ seq: 1, kind: "step", step_path: "a", output, events, age_ms: null }]);
  });

  // Fails when a page is bounded in entries alone.
  test("comes in pages of about 1 MiB", async () => {
    const run = await store.startRun();
    const output = JSON.stringify("x".repeat(400_000));
    for (let known_seq = 0; known_seq < 10; known_seq += 2) {
      await flush(store.sql, [stepEntry(run, { known_seq, output })]);
    }
    const sizes: number[] = [];
    let after = 0;
    let page;
    do {
      page = await readStoredPage(store.sql, run.run_id, after, 10);
      sizes.push(page.entries.length);
      after = page.entries.at(-1)?.seq ?? after;
    } while (page.more);
    expect(sizes).toEqual([3, 2]);
  });
});

describe("a run that is handed back", () => {
  test("is queued and due, and counts no crash", async () => {
    const run = await store.startRun();
    expect(await handBack(store.sql, run.owner, [run])).toEqual([run.run_id]);
    expect(await store.row(run.run_id)).toMatchObject({
      status: "queued",
      owner: null,
      crash_count: 0,
      attempt: 1,
    });
  });

  // Fails when the statement does not compare the owner, or the attempt.
  test("is returned only under the worker's own name and its own attempt", async () => {
    const run = await store.startRun();
    expect(await handBack(store.sql, newIncarnation("w"), [run])).toEqual([]);
    expect(await handBack(store.sql, run.owner, [{ ...run, attempt: 2 }])).toEqual([]);
    expect(await store.row(run.run_id)).toMatchObject({ status: "running", owner: run.owner });
  });
});

describe("a snapshot", () => {
  test("has the state of each run, and leaves out runs that do not exist", async () => {
    const [later, run] = [await store.accept({ delay_ms: 3_600_000 }), await store.startRun()];
    const snapshots = new Map(
      (await readRunSnapshots(store.sql, [later, run.run_id, newRunId(Date.now())])).map((snapshot) => [
        snapshot.run_id,
        snapshot,
      ]),
    );
    expect(snapshots.size).toBe(2);
    expect(snapshots.get(later)).toMatchObject({
      status: "queued",
      owner: null,
      owner_silent: false,
      tenant_id: acme,
    });
    expect(snapshots.get(later)?.due_in_ms).toBeGreaterThan(3_000_000);
    expect(snapshots.get(run.run_id)).toMatchObject({
      status: "running",
      owner: run.owner,
      owner_silent: false,
      attempt: 1,
    });
    await store.sql`delete from workers where incarnation = ${run.owner}`;
    expect(await readRunSnapshots(store.sql, [run.run_id])).toMatchObject([{ owner_silent: true }]);
  });
});

test("the definition of a run is the version that it is pinned to", async () => {
  expect(await readPinnedDefinition(store.sql, acme, "orch", 1)).toBe("{}");
  expect(await readPinnedDefinition(store.sql, acme, "orch", 2)).toBeNull();
});
