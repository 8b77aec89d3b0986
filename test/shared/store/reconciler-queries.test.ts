import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { RunId } from "../../../shared/contracts/ids.ts";
import { handBack } from "../../../shared/store/runs/claim-runs.ts";
import { flush } from "../../../shared/store/journal/flush.ts";
import { listChangedLimits, raiseLimitVersions } from "../../../shared/store/tenants/tenant-limits.ts";
import { listDueRuns, readScanBounds } from "../../../shared/store/runs/due-runs.ts";
import {
  listOverdueRuns,
  reclaimFromSilent,
  reclaimOverdue,
} from "../../../shared/store/runs/reclaim-runs.ts";
import { listOwners, listRunningRuns } from "../../../shared/store/runs/running-runs.ts";
import { beat } from "../../../shared/store/workers/beats.ts";
import { TenantId } from "../../../shared/contracts/ids.ts";
import { acme, globex, onlineBeat, stepEntry, openStore } from "./store-fixture.ts";
import type { Store } from "./store-fixture.ts";

let store: Store;

beforeEach(async () => {
  store = await openStore();
});
afterEach(() => store.close());

const START = { at: "-infinity", run_id: "" };

/** The runs that a due scan with pages of `limit` meets, in order. */
async function scanAll(limit: number, until = "infinity"): Promise<RunId[]> {
  const seen: RunId[] = [];
  let after = START;
  for (let pages = 0; pages < 100; pages++) {
    const page = await listDueRuns(store.sql, after, until, limit);
    seen.push(...page.map(({ run_id }) => run_id));
    const last = page.at(-1);
    if (!last || page.length < limit) return seen;
    after = { at: last.wake_at, run_id: last.run_id };
  }
  throw new Error("the scan did not end");
}

describe("a due scan", () => {
  // Fails when a page begins after a time only: runs that are due at the same instant would be skipped or repeated.
  test("meets each run once, in pages of any size, also when many are due at the same instant", async () => {
    const runs = await Promise.all(Array.from({ length: 25 }, () => store.accept()));
    await store.sql`update runs set wake_at = '2026-01-01T00:00:00.123456Z' where run_id in ${store.sql(runs.slice(0, 20))}`;
    for (const limit of [1, 3, 7, 20, 100]) {
      const seen = await scanAll(limit);
      expect(seen).toHaveLength(25);
      expect(new Set(seen)).toEqual(new Set(runs));
    }
  });

  test("meets queued and paused runs, and none that is running, has ended, or is due later", async () => {
    const [queued, paused, ended] = [await store.accept(), await store.startRun(), await store.startRun()];
    await store.startRun();
    await store.accept({ delay_ms: 60_000 });
    await flush(store.sql, [stepEntry(paused, { kind: "park", status: "paused", wake_ms: 0 })]);
    await flush(store.sql, [stepEntry(ended, { kind: "end", status: "completed" })]);
    const [now] = await store.sql<{ now: string }[]>`select now()::text as now`;
    expect(new Set(await scanAll(10, now?.now))).toEqual(new Set([queued, paused.run_id]));
  });

  // Fails when scans do not overlap: a run that was committed late, with an earlier time, would never be enqueued.
  // Fails when a page leaves rows out: the last page would read all paused runs in one statement, which has 5 s.
  test("that goes on to later runs reads as many rows for a page as the page has, also past runs that are paused", async () => {
    const paused = await Promise.all(Array.from({ length: 5 }, () => store.accept({ delay_ms: 60_000 })));
    const later = await store.accept({ delay_ms: 3_600_000 });
    await store.sql`update runs set status = 'paused', paused_at = now() where run_id in ${store.sql(paused)}`;
    const first = await listDueRuns(store.sql, START, "infinity", 5);
    expect(new Set(first.map(({ run_id }) => run_id))).toEqual(new Set(paused));
    expect(await scanAll(2)).toContain(later);
  });

  test("begins 15 s before the time up to which Redis knows the due runs, and ends 2 s ago", async () => {
    const [clock] = await store.sql<{ ms: number }[]>`select extract(epoch from now())::float8 * 1000 as ms`;
    const uptoMs = clock?.ms ?? 0;
    const bounds = await readScanBounds(store.sql, uptoMs);
    const [ms] = await store.sql<{ from: number; until: number }[]>`select
      extract(epoch from ${bounds.from}::text::timestamptz)::float8 * 1000 as from,
      extract(epoch from ${bounds.until}::text::timestamptz)::float8 * 1000 as until`;
    expect(ms?.from).toBeCloseTo(uptoMs - 15_000, 0);
    expect(ms?.until).toBeCloseTo(bounds.until_ms, 0);
    expect(bounds.now_ms - bounds.until_ms).toBeCloseTo(2_000, 0);
    expect((await readScanBounds(store.sql, null)).from).toBe("-infinity");
  });
});

describe("the runs of a silent owner", () => {
  const beatText = async (owner: string): Promise<string | null> =>
    (await listOwners(store.sql)).find((each) => each.owner === owner)?.beat_at ?? null;

  test("are queued again and due, and count a crash", async () => {
    const run = await store.startRun();
    const reclaimed = await reclaimFromSilent(store.sql, run.owner, await beatText(run.owner));
    expect(reclaimed).toMatchObject([{ run_id: run.run_id, status: "queued" }]);
    expect(await store.row(run.run_id)).toMatchObject({
      status: "queued",
      owner: null,
      crash_count: 1,
      attempt: 1,
    });
  });

  // Fails when the observed beat is not compared.
  test("stay with an owner that has beaten since it was observed", async () => {
    const run = await store.startRun();
    const observed = await beatText(run.owner);
    await beat(store.sql, onlineBeat(run.owner));
    expect(await reclaimFromSilent(store.sql, run.owner, observed)).toEqual([]);
  });

  test("are found when the owner has no row, and stay once it has one", async () => {
    const run = await store.startRun();
    await store.sql`delete from workers where incarnation = ${run.owner}`;
    expect(await listOwners(store.sql)).toEqual([{ owner: run.owner, beat_at: null }]);
    await beat(store.sql, onlineBeat(run.owner));
    expect(await reclaimFromSilent(store.sql, run.owner, null)).toEqual([]);
    await store.sql`delete from workers where incarnation = ${run.owner}`;
    expect(await reclaimFromSilent(store.sql, run.owner, null)).toHaveLength(1);
  });
});

describe("a run whose deadline has passed", () => {
  const startOverdueRun = async () => {
    const run = await store.startRun();
    await store.sql`update runs set deadline_at = now() - interval '1 second' where run_id = ${run.run_id}`;
    return run;
  };

  test("is reclaimed, and other runs are not", async () => {
    const run = await startOverdueRun();
    await store.startRun();
    const observed = await listOverdueRuns(store.sql);
    expect(observed.map(({ run_id }) => run_id)).toEqual([run.run_id]);
    expect(await reclaimOverdue(store.sql, observed)).toMatchObject([{ run_id: run.run_id }]);
    expect(await store.row(run.run_id)).toMatchObject({ status: "queued", owner: null, crash_count: 1 });
  });

  // Fails when one of them is not compared.
  test("stays when its entry, deadline, attempt or owner has changed", async () => {
    const [moved, extended, reclaimed] = [
      await startOverdueRun(),
      await startOverdueRun(),
      await startOverdueRun(),
    ];
    const observed = await listOverdueRuns(store.sql);
    expect(observed).toHaveLength(3);
    const deadlineOf = (run: RunId): string =>
      observed.find(({ run_id }) => run_id === run)?.deadline_at ?? "";
    const restoreDeadline = (run: RunId) =>
      store.sql`update runs set deadline_at = ${deadlineOf(run)}::text::timestamptz where run_id = ${run}`;
    await flush(store.sql, [stepEntry(moved)]);
    await restoreDeadline(moved.run_id);
    await store.sql`update runs set deadline_at = deadline_at + interval '1 millisecond' where run_id = ${extended.run_id}`;
    await handBack(store.sql, reclaimed.owner, [reclaimed]);
    await store.claim(await store.addWorker(), reclaimed.run_id);
    await restoreDeadline(reclaimed.run_id);
    expect(await reclaimOverdue(store.sql, observed)).toEqual([]);
  });
});

test("the list of running runs has each once, page by page", async () => {
  const runs = await Promise.all(Array.from({ length: 7 }, () => store.startRun()));
  const [first] = runs;
  if (first) await store.claim(first.owner, await store.accept());
  const seen: string[] = [];
  let after = { owner: "", run_id: "" };
  for (;;) {
    const page = await listRunningRuns(store.sql, after, 3);
    seen.push(...page.map(({ run_id }) => run_id));
    const last = page.at(-1);
    if (!last) break;
    after = { owner: last.owner, run_id: last.run_id };
  }
  expect(seen).toHaveLength(8);
  expect(new Set(seen).size).toBe(8);
});

test("the list of changed limits has each tenant once, the oldest change first", async () => {
  await store.sql`update tenants set updated_at = '2026-01-01T00:00:00.000001Z'`;
  const first = await listChangedLimits(store.sql, { at: "-infinity", tenant: "" }, 1);
  expect(first).toMatchObject([{ tenant: "acme", version: 1, maxConcurrentRuns: 100 }]);
  const second = await listChangedLimits(store.sql, { at: first[0]?.updated_at ?? "", tenant: "acme" }, 1);
  expect(second).toMatchObject([{ tenant: "globex" }]);
  expect(await listChangedLimits(store.sql, { at: first[0]?.updated_at ?? "", tenant: "globex" }, 1)).toEqual(
    [],
  );
});

test("a tenant's version is raised above that of the queue, and only when it is lower", async () => {
  await store.sql`update tenants set version = 4, updated_at = '2026-01-01T00:00:00Z'`;
  const stranger = TenantId.parse("stranger");
  const newer = [
    { tenant: acme, version: 9 },
    { tenant: globex, version: 4 },
    { tenant: stranger, version: 9 },
  ];
  expect(await raiseLimitVersions(store.sql, newer)).toBe(1);
  const changed = await listChangedLimits(store.sql, { at: "2026-01-02T00:00:00Z", tenant: "" }, 9);
  expect(changed).toMatchObject([{ tenant: "acme", version: 10, maxConcurrentRuns: 100 }]);
});
