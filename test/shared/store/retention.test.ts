import { afterEach, beforeEach, expect, test } from "vitest";
import type { RunId } from "../../../shared/contracts/ids.ts";
import type { Retention } from "../../../shared/contracts/retention.ts";
import { deleteExpired } from "../../../shared/store/delete-expired.ts";
import { takeExpiredObjects } from "../../../shared/store/files/expired-objects.ts";
import { flush } from "../../../shared/store/journal/flush.ts";
import { changeTenant } from "../../../shared/store/tenants/tenant-rows.ts";
import { MemoryBucket } from "../../services/memory-bucket.ts";
import { ageEnd, archivePass } from "../../services/archive.ts";
import { acme, globex, openStore, saveEmptyOrchestration, stepEntry } from "./store-fixture.ts";
import type { Store } from "./store-fixture.ts";

let store: Store;
beforeEach(async () => {
  store = await openStore();
  await saveEmptyOrchestration(store.sql, globex, "orch");
});
afterEach(() => store.close());

const keep = (retention: Partial<Retention>, tenant = acme) => changeTenant(store.sql, tenant, { retention });
const call = {
  call: "a",
  provider: "p",
  model: "m",
  input_tokens: 1,
  output_tokens: 1,
  cost_micro_usd: 5,
};

/** A failed run of a tenant with a charge and a dead letter, that ended `days` ago. */
async function endedRun(days: number, tenant = acme): Promise<RunId> {
  const run = await store.startRun({ tenant_id: tenant });
  const letter = { code: "c", message: "m", stack: null, step_id: "a", tries: 1, first_failed_at: null };
  const end = {
    kind: "end" as const,
    status: "failed" as const,
    output: "{}",
    usage: [call],
    dead_letter: letter,
  };
  await flush(store.sql, [stepEntry(run, end)]);
  await ageEnd(store.sql, run.run_id, days * 24);
  const age = store.sql`now() - ${days} * interval '1 day'`;
  await store.sql`update runs set queued_at = ${age} where run_id = ${run.run_id}`;
  await store.sql`update usage set at = ${age} where run_id = ${run.run_id}`;
  await store.sql`update dead_letters set failed_at = ${age} where run_id = ${run.run_id}`;
  return run.run_id;
}
const idsIn = async (table: string): Promise<unknown[]> =>
  (await store.sql`select run_id from ${store.sql(table)} order by run_id`).map((row) => row["run_id"]);
const sorted = (...runs: string[]) => runs.toSorted((a, b) => (a < b ? -1 : 1));

// Fails when a policy reaches another tenant, a run that has not ended, or a charge.
test("runs_days deletes ended runs of this tenant, and keeps their usage", async () => {
  const [old, young, other] = [await endedRun(10), await endedRun(8), await endedRun(10, globex)];
  const open = (await store.startRun()).run_id;
  await store.sql`update runs set queued_at = now() - interval '10 days' where run_id = ${open}`;
  expect((await keep({ runs_days: 9 }))?.retention).toMatchObject({ runs_days: 9, usage_days: null });
  await deleteExpired(store.sql);
  expect(await idsIn("runs")).toEqual(sorted(young, other, open));
  expect(await idsIn("journal")).toEqual(sorted(young, other));
  expect(await idsIn("dead_letters")).toEqual(sorted(young, other));
  expect(await idsIn("usage")).toEqual(sorted(old, young, other));
  const key = (run: string, tenant = "acme") => `${tenant}/${run}/a/1.1/set.x`;
  expect(await takeExpiredObjects(store.sql, [key(old), key(young), key(old, "globex")])).toEqual([key(old)]);
});

// Fails when the parent finds no child whose result it waits for.
test("a child is not deleted before its parent has ended", async () => {
  const [parent, child] = [(await store.startRun()).run_id, await endedRun(10)];
  await store.sql`update runs set parent_run_id = ${parent} where run_id = ${child}`;
  await keep({ runs_days: 1 });
  await deleteExpired(store.sql);
  expect(await idsIn("runs")).toEqual(sorted(parent, child));
});

test("a deleted run that was archived leaves its segment with one run less", async () => {
  const bucket = new MemoryBucket();
  await endedRun(10);
  const young = await endedRun(5);
  await archivePass(store.sql, bucket);
  await keep({ runs_days: 9 });
  await deleteExpired(store.sql);
  expect(await idsIn("runs")).toEqual([young]);
  expect(await store.sql`select live_runs, unused_since from journal_segments`).toEqual([
    { live_runs: 1, unused_since: null },
  ]);
});

test("usage_days and dead_letters_days delete rows of this tenant, and no runs", async () => {
  const [old, young, other] = [await endedRun(10), await endedRun(8), await endedRun(10, globex)];
  await keep({ usage_days: 9, dead_letters_days: 9 });
  await deleteExpired(store.sql);
  expect(await idsIn("usage")).toEqual(sorted(young, other));
  expect(await idsIn("dead_letters")).toEqual(sorted(young, other));
  expect(await idsIn("runs")).toEqual(sorted(old, young, other));
});

test("journal_days keeps journals in Postgres for longer, and null gives it back to the platform", async () => {
  const bucket = new MemoryBucket();
  await endedRun(5);
  await endedRun(5, globex);
  await keep({ journal_days: 6 });
  expect(await archivePass(store.sql, bucket)).toBe(1);
  expect((await keep({ journal_days: null }))?.retention.journal_days).toBeNull();
  expect(await archivePass(store.sql, bucket)).toBe(1);
});

test("artifacts_days expires the objects of runs that ended before", async () => {
  const [old, young] = [await endedRun(10), await endedRun(8)];
  await keep({ artifacts_days: 9 });
  const keys = [old, young].map((run) => `acme/${run}/a/1.1/set.x`);
  expect(await takeExpiredObjects(store.sql, [...keys, "acme/uploads/x", "acme/journal/y"])).toEqual([
    keys[0],
  ]);
});

// Fails when the platform's 30 days hold for a tenant that keeps its deliveries for longer.
test("deliveries_days holds in place of 30 days, for longer and for shorter", async () => {
  const insert = (tenant: string, days: number) => store.sql`
    insert into webhook_deliveries (delivery_id, run_id, seq, tenant_id, orchestration_id, type, url, outcome, done_at, next_at,
      expires_at, created_at,
      status, tokens, cost_micro_usd)
    select ${`${tenant}-${days}`}, ${`run_${tenant}_${days}`}, 1, ${tenant}, 'orch', 'run.completed', 'http://x', 'delivered', at, null, at, at,
      'completed', 0, 0 from (select now() - ${days} * interval '1 day' as at) a`;
  for (const tenant of ["acme", "globex"]) for (const days of [6, 8, 31, 91]) await insert(tenant, days);
  await keep({ deliveries_days: 7 });
  await keep({ deliveries_days: 90 }, globex);
  await deleteExpired(store.sql);
  const left = await store.sql`select delivery_id from webhook_deliveries`;
  expect(new Set(left.map((row) => row["delivery_id"]))).toEqual(
    new Set(["acme-6", "globex-6", "globex-8", "globex-31"]),
  );
});

// Fails when a version is deleted that a run would need for its retry.
test("versions keeps the newest ones, and those that runs are pinned to", async () => {
  const pinned = await store.accept();
  for (let i = 0; i < 4; i++) await saveEmptyOrchestration(store.sql, acme, "orch");
  await keep({ versions: 2 });
  await deleteExpired(store.sql);
  const left =
    await store.sql`select version from orchestration_versions where tenant_id = 'acme' order by version`;
  expect(left.map((row) => row["version"])).toEqual([1, 4, 5]);
  expect((await store.row(pinned))["definition_version"]).toBe(1);
});

test("a full slice is followed by another one", async () => {
  await store.sql`
    insert into usage (run_id, seq, call, tenant_id, at, provider, model, input_tokens, output_tokens, cost_micro_usd)
    select 'run_x', i, 'c', 'acme', now() - interval '3 days', 'p', 'm', 1, 1, 1 from generate_series(1, 5001) i`;
  await keep({ usage_days: 2 });
  expect(await deleteExpired(store.sql)).toBe(true);
  expect(await store.sql`select 1 from usage`).toHaveLength(1);
  expect(await deleteExpired(store.sql)).toBe(true);
  expect(await store.sql`select 1 from usage`).toHaveLength(0);
  expect(await deleteExpired(store.sql)).toBe(false);
});
