import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { RunId } from "../../../shared/contracts/ids.ts";
import type { LaneChange } from "../../../shared/contracts/lane-settings.ts";
import type { RunLane } from "../../../shared/contracts/run.ts";
import { deleteExpired } from "../../../shared/store/delete-expired.ts";
import { flush } from "../../../shared/store/journal/flush.ts";
import { deleteRunsOfLanes } from "../../../shared/store/lanes/delete-lane-runs.ts";
import { changeLane } from "../../../shared/store/lanes/lane-rows.ts";
import { retryRun } from "../../../shared/store/runs/requeue-for-retry.ts";
import { ageEnd } from "../../services/archive.ts";
import { acme, globex, openStore, saveEmptyOrchestration, stepEntry } from "./store-fixture.ts";
import type { Store } from "./store-fixture.ts";

let store: Store;
beforeEach(async () => {
  store = await openStore();
  await saveEmptyOrchestration(store.sql, globex, "orch");
});
afterEach(() => store.close());

type Ended = {
  hours: number;
  lane?: RunLane;
  tenant?: typeof acme;
  status?: "completed" | "failed" | "cancelled";
};

/** A run that ended some hours ago. */
async function endedRun({
  hours,
  lane = "bulk",
  tenant = acme,
  status = "completed",
}: Ended): Promise<RunId> {
  const run = await store.startRun({ tenant_id: tenant, lane });
  await flush(store.sql, [stepEntry(run, { kind: "end", status, output: "{}" })]);
  await ageEnd(store.sql, run.run_id, hours);
  return run.run_id;
}
const keep = (change: LaneChange, lane: RunLane = "bulk") => changeLane(store.sql, lane, change);
const idsIn = async (table: string): Promise<unknown[]> =>
  (await store.sql`select run_id from ${store.sql(table)} order by run_id`).map((row) => row["run_id"]);
const sorted = (...runs: string[]) => runs.toSorted((a, b) => (a < b ? -1 : 1));
const DAY = 86_400;

test("a lane without settings keeps all its runs, and lists none of them", async () => {
  const run = await endedRun({ hours: 9_000 });
  await keep({ weight: 2 });
  expect(await deleteExpired(store.sql)).toBe(false);
  expect(await idsIn("runs")).toEqual([run]);
  expect(await idsIn("lane_ends")).toEqual([]);
});

describe("keep_…_seconds", () => {
  // Fails when another lane, another kind of end or a younger run is deleted.
  test("delete the older runs of this lane with all that is theirs, each kind of end by its own", async () => {
    const outlived = await endedRun({ hours: 49 });
    const young = await endedRun({ hours: 47 });
    const other = await endedRun({ hours: 49, lane: "default" });
    const failed = await endedRun({ hours: 49, status: "failed" });
    const cancelled = await endedRun({ hours: 97, status: "cancelled" });
    await keep({ keep_completed_seconds: 2 * DAY, keep_failed_seconds: 4 * DAY });
    await deleteExpired(store.sql);
    expect(await idsIn("runs")).toEqual(sorted(young, other, failed));
    expect(await idsIn("journal")).toEqual(sorted(young, other, failed));
    expect(await idsIn("lane_ends")).toEqual(sorted(young, failed));
    expect(await idsIn("deleted_runs")).toEqual(sorted(outlived, cancelled));
  });

  test("a later change is applied to the runs that are listed already", async () => {
    const [old, young] = [await endedRun({ hours: 49 }), await endedRun({ hours: 20 })];
    await keep({ keep_completed_seconds: 4 * DAY });
    await deleteExpired(store.sql);
    expect(await idsIn("runs")).toEqual(sorted(old, young));
    await keep({ keep_completed_seconds: DAY });
    await deleteExpired(store.sql);
    expect(await idsIn("runs")).toEqual([young]);
  });

  // Fails when the end that a retry undid is taken for the run's end.
  test("a run that was retried is kept, and counts again from its next end", async () => {
    const run = await endedRun({ hours: 49, status: "failed" });
    await keep({ keep_failed_seconds: 4 * DAY });
    await deleteExpired(store.sql);
    const { event_seq: known_seq } = await store.row(run);
    await retryRun(store.sql, { run_id: run, tenant_id: acme, known_seq, output: "{}", event: "{}" });
    expect(await idsIn("lane_ends")).toEqual([]);
    await keep({ keep_failed_seconds: DAY });
    await deleteExpired(store.sql);
    expect(await idsIn("runs")).toEqual([run]);
    const owner = await store.addWorker();
    await flush(store.sql, [
      stepEntry(
        { ...(await store.claim(owner, run)), owner },
        { kind: "end", status: "failed", output: "{}" },
      ),
    ]);
    await ageEnd(store.sql, run, 25);
    await deleteExpired(store.sql);
    expect(await idsIn("runs")).toEqual([]);
  });

  // An edge of the previous version leaves such a row, because its retry does not change `lane_ends`.
  test("a listed end that a retry has undone deletes no run, and its row is deleted", async () => {
    const run = await endedRun({ hours: 49 });
    await keep({ keep_completed_seconds: 4 * DAY });
    await deleteExpired(store.sql);
    await ageEnd(store.sql, run, 0.5);
    await keep({ keep_completed_seconds: DAY });
    await deleteRunsOfLanes(store.sql);
    expect([await idsIn("runs"), await idsIn("lane_ends")]).toEqual([[run], []]);
  });

  test("a child stays while its parent has not ended, and a run while a delivery is to be sent", async () => {
    const [child, delivering, free] = [
      await endedRun({ hours: 49 }),
      await endedRun({ hours: 49 }),
      await endedRun({ hours: 48 }),
    ];
    const parent = (await store.startRun()).run_id;
    await store.sql`update runs set parent_run_id = ${parent} where run_id = ${child}`;
    await store.sql`
      insert into webhook_deliveries (delivery_id, run_id, seq, tenant_id, orchestration_id, type, url, next_at, status, tokens,
        cost_micro_usd)
      values ('d', ${delivering}, 1, 'acme', 'orch', 'run.completed', 'http://x', now(), 'completed', 0, 0)`;
    await keep({ keep_completed_seconds: DAY, keep_completed_count: 0 });
    await deleteExpired(store.sql);
    expect(await idsIn("runs")).toEqual(sorted(child, delivering, parent));
    await store.sql`update webhook_deliveries set outcome = 'delivered', done_at = now(), next_at = null`;
    await store.sql`update runs set parent_run_id = null where run_id = ${child}`;
    await deleteExpired(store.sql);
    expect(await idsIn("runs")).toEqual([parent]);
    expect(await idsIn("deleted_runs")).toEqual(sorted(free, child, delivering));
  });
});

describe("keep_…_count", () => {
  // Fails when tenants share a number, or the newest runs go.
  test("keeps the newest runs of each tenant in this lane", async () => {
    const [oldest, middle, newest] = [
      await endedRun({ hours: 5 }),
      await endedRun({ hours: 4 }),
      await endedRun({ hours: 3 }),
    ];
    const others = [
      await endedRun({ hours: 9, tenant: globex }),
      await endedRun({ hours: 8, tenant: globex }),
    ];
    const failed = await endedRun({ hours: 9, status: "failed" });
    await keep({ keep_completed_count: 2 });
    await deleteExpired(store.sql);
    expect(await idsIn("runs")).toEqual(sorted(middle, newest, failed, ...others));
    expect(await idsIn("deleted_runs")).toEqual([oldest]);
  });

  test("a run is kept for an hour after its end, whatever the number is", async () => {
    const [young, old] = [await endedRun({ hours: 0.9 }), await endedRun({ hours: 1.1 })];
    await keep({ keep_completed_count: 0 });
    await deleteExpired(store.sql);
    expect(await idsIn("runs")).toEqual([young]);
    expect(await idsIn("deleted_runs")).toEqual([old]);
  });

  // Fails when a position over tenants stops before the last one, or a full slice ends the work of a call.
  test("reaches all tenants, and all of the runs of one with many", async () => {
    await store.sql`
      insert into runs (run_id, tenant_id, orchestration_id, definition_tenant, definition_version, status, lane, correlation_id, input,
        wake_at, ended_at, queued_at)
      select 'run_' || lpad(n::text, 12, '0') || '_1780499750067', case when n <= 1500 then 'flood' else 't' || lpad(n::text, 5, '0') end,
        'orch', '', 1, 'completed', 'bulk', 'c', '{}', null, now() - interval '2 hours' - n * interval '1 second', now()
      from generate_series(1, 1650) n`;
    await store.sql`
      insert into runs (run_id, tenant_id, orchestration_id, definition_tenant, definition_version, status, lane, correlation_id, input,
        wake_at, ended_at, queued_at)
      select 'run_' || lpad((n + 5000)::text, 12, '0') || '_1780499750067', 't' || lpad(n::text, 5, '0'),
        'orch', '', 1, 'completed', 'bulk', 'c', '{}', null, now() - interval '3 hours', now()
      from generate_series(1501, 1650) n`;
    await keep({ keep_completed_count: 1 });
    while (await deleteRunsOfLanes(store.sql));
    const left = await store.sql`select tenant_id, count(*)::int as n from runs group by 1`;
    expect(left).toHaveLength(151);
    expect(new Set(left.map((row) => row["n"]))).toEqual(new Set([1]));
    // Of each the newest one.
    expect(await store.sql`select from runs where ended_at < now() - interval '2 hours 59 minutes'`).toEqual(
      [],
    );
  });
});

test("two reconcilers at once delete each run once, and no other", async () => {
  const runs = await Promise.all([40, 41, 42, 43].map((hours) => endedRun({ hours })));
  const young = await endedRun({ hours: 20 });
  await keep({ keep_completed_seconds: DAY });
  await Promise.all([deleteRunsOfLanes(store.sql), deleteRunsOfLanes(store.sql)]);
  await deleteRunsOfLanes(store.sql);
  expect(await idsIn("runs")).toEqual([young]);
  expect(await idsIn("deleted_runs")).toEqual(sorted(...runs));
});
