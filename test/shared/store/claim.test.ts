import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { newIncarnation, newRunId } from "../../../shared/contracts/ids.ts";
import { claimRuns, handBack, lookUp, readPinned } from "../../../shared/store/runs/claim.ts";
import { flush } from "../../../shared/store/journal/flush.ts";
import { acme, entryOf, openStore } from "./world.ts";
import type { Store } from "./world.ts";

let store: Store;

beforeAll(async () => {
  store = await openStore();
});
afterAll(() => store.close());

const claim = async (owner: string, ...runs: Parameters<typeof claimRuns>[2]) =>
  (await claimRuns(store.sql, owner, runs)).map(({ run_id }) => run_id);

describe("a claim", () => {
  test("of a due run counts the attempt and makes the claimer its owner", async () => {
    const [run, owner] = [await store.accept(), await store.worker()];
    const claimed = await store.claim(owner, run);
    expect(claimed).toMatchObject({ attempt: 1, event_seq: 0, crash_count: 0, cancel: false, journal: [] });
    expect(await store.row(run)).toMatchObject({ status: "running", owner, attempt: 1 });
    const [row] =
      await store.sql`select extract(epoch from deadline_at - now())::float8 as s from runs where run_id = ${run}`;
    expect(row?.s).toBeGreaterThan(55);
  });

  test("of a run that is due later gets nothing, of one that is due in a moment gets it", async () => {
    const owner = await store.worker();
    const [later, soon] = [await store.accept({ delay_ms: 10_000 }), await store.accept({ delay_ms: 1_500 })];
    expect(await claim(owner, later, soon)).toEqual([soon]);
  });

  test("of a run that has ended, or does not exist, gets nothing", async () => {
    const run = await store.running();
    await flush(store.sql, [entryOf(run, { kind: "end", status: "failed" })]);
    expect(await claim(run.owner, run.run_id, newRunId(Date.now()))).toEqual([]);
  });

  // Red when: the owner's beat is not asked for, or its limit is another.
  test("takes a run over from an owner that is silent or unknown, and from no other; that counts a crash", async () => {
    const [fresh, silent, unknown] = [await store.running(), await store.running(), await store.running()];
    await store.silence(fresh.owner, 11);
    await store.silence(silent.owner, 13);
    await store.sql`delete from workers where incarnation = ${unknown.owner}`;
    // A Postgres that has just started has heard of nobody, and that makes nobody silent.
    const [up] =
      await store.sql`select extract(epoch from now() - pg_postmaster_start_time())::float8 * 1000 as ms`;
    if (up?.ms < 13_000) {
      expect(await claim(await store.worker(), silent.run_id)).toEqual([]);
      await sleep(13_000 - up?.ms);
      await store.silence(fresh.owner, 5);
    }
    const next = await store.worker("next");
    const taken = await claim(next, fresh.run_id, silent.run_id, unknown.run_id);
    expect(taken).not.toContain(fresh.run_id);
    expect(taken).toContain(unknown.run_id);
    expect(taken).toContain(silent.run_id);
    expect(await store.row(unknown.run_id)).toMatchObject({ attempt: 2, crash_count: 1, owner: next });
  }, 40_000);

  // Red when: rows are not locked before they are updated, or the locked are waited for.
  test("by eight at once gives each run to one", async () => {
    const runs = await Promise.all(Array.from({ length: 40 }, () => store.accept()));
    const owners = await Promise.all(Array.from({ length: 8 }, () => store.worker()));
    const got = (await Promise.all(owners.map((owner) => claim(owner, ...runs)))).flat();
    expect(got.length).toBe(new Set(got).size);
    const attempts =
      await store.sql`select max(attempt)::int as most from runs where run_id in ${store.sql(runs)}`;
    expect(attempts[0]?.most).toBe(1);
    expect(await claim(await store.worker(), ...runs)).toEqual(runs.filter((run) => !got.includes(run)));
  });

  test("brings the journal without its notes, in order", async () => {
    const run = await store.running();
    await flush(store.sql, [entryOf(run)]);
    await flush(store.sql, [entryOf(run, { kind: "note", known_seq: 2 })]);
    await flush(store.sql, [entryOf(run, { kind: "turn", known_seq: 4 })]);
    await handBack(store.sql, run.owner, [run]);
    const again = await store.claim(await store.worker(), run.run_id);
    expect(again.journal.map(({ seq, kind }) => [seq, kind])).toEqual([
      [2, "step"],
      [6, "turn"],
    ]);
    expect(again).toMatchObject({ attempt: 2, event_seq: 6, crash_count: 0 });
    expect(again.running_for_ms).toBeGreaterThan(0);
  });
});

describe("what is handed back", () => {
  test("is queued and due, and no crash", async () => {
    const run = await store.running();
    expect(await handBack(store.sql, run.owner, [run])).toEqual([run.run_id]);
    expect(await store.row(run.run_id)).toMatchObject({
      status: "queued",
      owner: null,
      crash_count: 0,
      attempt: 1,
    });
  });

  // Red when: the owner, or the attempt, is not asked for.
  test("is one's own, under the attempt that one has", async () => {
    const run = await store.running();
    expect(await handBack(store.sql, newIncarnation("w"), [run])).toEqual([]);
    expect(await handBack(store.sql, run.owner, [{ ...run, attempt: 2 }])).toEqual([]);
    expect(await store.row(run.run_id)).toMatchObject({ status: "running", owner: run.owner });
  });
});

describe("a look", () => {
  test("tells of each run what the claimer has to know, and nothing of what does not exist", async () => {
    const [later, run] = [await store.accept({ delay_ms: 60_000 }), await store.running()];
    const looks = new Map(
      (await lookUp(store.sql, [later, run.run_id, newRunId(Date.now())])).map((l) => [l.run_id, l]),
    );
    expect(looks.size).toBe(2);
    expect(looks.get(later)).toMatchObject({
      status: "queued",
      owner: null,
      owner_silent: false,
      tenant_id: acme,
    });
    expect(looks.get(later)?.due_in_ms).toBeGreaterThan(58_000);
    expect(looks.get(run.run_id)).toMatchObject({
      status: "running",
      owner: run.owner,
      owner_silent: false,
      attempt: 1,
    });
    await store.sql`delete from workers where incarnation = ${run.owner}`;
    expect(await lookUp(store.sql, [run.run_id])).toMatchObject([{ owner_silent: true }]);
  });
});

test("a definition is read as the version that a run is pinned to", async () => {
  expect(await readPinned(store.sql, acme, "orch", 1)).toBe("{}");
  expect(await readPinned(store.sql, acme, "orch", 2)).toBeNull();
});
