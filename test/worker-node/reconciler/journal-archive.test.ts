import { afterEach, beforeEach, expect, test } from "vitest";
import type { RunId } from "../../../shared/contracts/ids.ts";
import { archivedRows, segmentKey } from "../../../shared/archive/read-archive.ts";
import { readArchivePlace } from "../../../shared/store/archive/archive-journals.ts";
import { findOrphans } from "../../../shared/store/files/orphans.ts";
import { flush } from "../../../shared/store/journal/flush.ts";
import { retryRun } from "../../../shared/store/runs/requeue-for-retry.ts";
import { writeLine } from "../../../shared/events/lines.ts";
import { stateStore } from "../../../shared/store/state.ts";
import type { StateStore } from "../../../shared/store/state.ts";
import { deleteOfTenants } from "../../../shared/store/tenants/delete-tenants.ts";
import { MemoryBucket } from "../../services/memory-bucket.ts";
import { ageEnd, archivePass } from "../../services/archive.ts";
import {
  acme,
  globex,
  openStore,
  saveEmptyOrchestration,
  stepEntry,
} from "../../shared/store/store-fixture.ts";
import type { Store } from "../../shared/store/store-fixture.ts";

let store: Store;
let bucket: MemoryBucket;
beforeEach(async () => {
  store = await openStore();
  bucket = new MemoryBucket();
});
afterEach(() => store.close());

/** A run with a result and an end, `hours` ago. */
async function endedRun(
  hours = 48,
  status: "completed" | "failed" = "failed",
  tenant = acme,
): Promise<RunId> {
  const run = await store.startRun({ tenant_id: tenant });
  await flush(store.sql, [stepEntry(run)]);
  const end = { kind: "end" as const, status, step_path: null, visit: null, error: null };
  await flush(store.sql, [
    { ...stepEntry({ ...run, event_seq: run.event_seq + 2 }, { ...end, output: '{"x":1}' }) },
  ]);
  await ageEnd(store.sql, run.run_id, hours);
  return run.run_id;
}

/** A run that has streamed a model's text in this many events. */
async function streamedRun(deltas: number): Promise<RunId> {
  const run = await store.startRun({ tenant_id: acme });
  for (let i = 0; i < deltas; i++) {
    const event = { type: "llm_delta" as const, orch_step_id: "a", text: `word ${i * 7919} ` };
    const note = {
      kind: "note" as const,
      step_path: "a",
      events: writeLine(event, new Date(), "c"),
      events_n: 1,
    };
    await flush(store.sql, [stepEntry({ ...run, event_seq: run.event_seq + i }, note)]);
  }
  const end = { kind: "end" as const, status: "failed" as const, step_path: null, visit: null, error: null };
  await flush(store.sql, [
    stepEntry({ ...run, event_seq: run.event_seq + deltas }, { ...end, output: '{"x":1}' }),
  ]);
  await ageEnd(store.sql, run.run_id);
  return run.run_id;
}

const rowsOf = (run: RunId) => store.sql`select * from journal where run_id = ${run} order by seq`;
const placeOf = (run: RunId) => readArchivePlace(store.sql, run);
/** The numbers of the entries in the archive; null: the run is not archived. */
async function archivedOf(run: RunId): Promise<number[] | null> {
  const place = await placeOf(run);
  return place && (await archivedRows(bucket.readRange, place, 0)).map(({ seq }) => seq);
}
const numbersOf = async (run: RunId): Promise<unknown[]> => (await rowsOf(run)).map((row) => row["seq"]);
const retry = async (run: RunId) =>
  retryRun(store.sql, {
    run_id: run,
    tenant_id: acme,
    known_seq: Number((await store.row(run))["event_seq"]),
    output: '{"keep_seq":2}',
    event: '{"type":"run_retried"}',
  });
/** The store, with some verbs replaced: a test lets something happen before or after their own work. */
const storeWith = (verbs: Partial<StateStore>): StateStore => ({ ...stateStore(store.sql), ...verbs });

test("journals of several runs of a tenant share one object, and those of another tenant have one of their own", async () => {
  await saveEmptyOrchestration(store.sql, globex, "orch");
  const runs = [await endedRun(), await endedRun(48, "completed"), await endedRun(48, "failed", globex)];
  const numbers = await Promise.all(runs.map(numbersOf));
  expect(await archivePass(store.sql, bucket)).toBe(3);
  const owners = Array.from(bucket.objects.keys(), (key) => key.split("/")[0]);
  expect([owners.length, new Set(owners)]).toEqual([2, new Set(["acme", "globex"])]);
  expect(await Promise.all(runs.map(archivedOf))).toEqual(numbers);
  expect(await store.sql`select 1 from journal`).toEqual([]);
  expect(await store.sql`select 1 from journals_to_archive`).toEqual([]);
  expect(await archivePass(store.sql, bucket)).toBe(0);
});

// Fails when a run is archived while the feed of its tenant may still read its journal in Postgres.
test("a run that ended less than 25 hours ago, or has not ended, is not archived", async () => {
  const runs = [await endedRun(24.9), (await store.startRun()).run_id];
  await flush(store.sql, [stepEntry(await store.startRun())]);
  expect(await archivePass(store.sql, bucket)).toBe(0);
  expect(await Promise.all(runs.map(placeOf))).toEqual([null, null]);
});

test("nothing is archived in the first day after the migration", async () => {
  const run = await endedRun();
  await store.sql`update archive_progress set begins_at = now() + interval '1 minute'`;
  expect(await archivePass(store.sql, bucket)).toBe(0);
  expect(await placeOf(run)).toBeNull();
});

// Fails when a segment has lines that an edge of the version before cannot read.
test("text deltas are joined from a day after the migration on", async () => {
  const sizes: number[] = [];
  for (const joins_at of ["now() + interval '1 minute'", "now()"]) {
    const run = await streamedRun(60);
    const rows = await rowsOf(run);
    await store.sql`update archive_progress set joins_at = ${store.sql.unsafe(joins_at)}`;
    expect(await archivePass(store.sql, bucket)).toBe(1);
    expect(await archivedOf(run)).toEqual(rows.map((row) => row["seq"]));
    sizes.push(Number((await placeOf(run))?.length));
  }
  const [apart = 0, joined = 0] = sizes;
  expect(joined).toBeLessThan(0.7 * apart);
});

// Fails when rows are deleted before the object is stored.
test("while the object store is away a journal stays, and ten minutes later it is archived", async () => {
  const run = await endedRun();
  const numbers = await numbersOf(run);
  bucket.isAway = true;
  await expect(archivePass(store.sql, bucket)).rejects.toThrow("does not answer");
  expect(await numbersOf(run)).toEqual(numbers);
  bucket.isAway = false;
  expect(await archivePass(store.sql, bucket)).toBe(0);
  await store.sql`update journals_to_archive set claimed_until = now()`;
  expect(await archivePass(store.sql, bucket)).toBe(1);
  expect(await archivedOf(run)).toEqual(numbers);
});

// Fails when an object without a reference is kept for ever, or when an object that was recorded late is deleted.
test("a death between the put and its record leaves an object that is deleted a day later", async () => {
  const run = await endedRun();
  const dies = storeWith({ recordSegment: () => Promise.reject(new Error("killed")) });
  await expect(archivePass(store.sql, bucket, dies)).rejects.toThrow("killed");
  const [orphan = ""] = bucket.objects.keys();
  await store.sql`update journals_to_archive set claimed_until = now()`;
  expect(await archivePass(store.sql, bucket)).toBe(1);
  expect(bucket.objects.size).toBe(2);
  await store.sql`update journal_segments set announced_at = now() - interval '25 hours'`;
  await archivePass(store.sql, bucket);
  expect([...bucket.objects.keys()]).not.toContain(orphan);
  expect(await archivedOf(run)).toEqual([2, 4]);
  expect(await store.sql`select live_runs from journal_segments`).toEqual([{ live_runs: 1 }]);
});

// Fails when the record does not compare event_seq: the rows of the run's next life would be deleted.
test("a run that is retried between the read of its journal and the record stays in Postgres", async () => {
  const run = await endedRun();
  const state = stateStore(store.sql);
  const raced = storeWith({
    async recordSegment(segment) {
      await retry(run);
      return state.recordSegment(segment);
    },
  });
  expect(await archivePass(store.sql, bucket, raced)).toBe(0);
  expect(await numbersOf(run)).toEqual([2, 4, 5]);
  expect(await placeOf(run)).toBeNull();
});

test("of two reconcilers that archive the same journal one records it, and the object of the other is deleted", async () => {
  const run = await endedRun();
  const raced = storeWith({
    async recordSegment(segment) {
      await store.sql`update journals_to_archive set claimed_until = now()`;
      expect(await archivePass(store.sql, bucket)).toBe(1);
      return stateStore(store.sql).recordSegment(segment);
    },
  });
  expect(await archivePass(store.sql, bucket, raced)).toBe(0);
  expect(await archivedOf(run)).toEqual([2, 4]);
  await store.sql`
    update journal_segments set announced_at = now() - interval '8 days', unused_since = unused_since - interval '8 days'`;
  await archivePass(store.sql, bucket);
  const place = await placeOf(run);
  expect([...bucket.objects.keys()]).toEqual([segmentKey("acme", place?.segment_id ?? "")]);
});

// Fails when the objects that cannot be deleted are tried first in each pass: those after a page of them would stay for as long.
test("unused segments that the store refuses to delete do not stop the deletion of others, also when they are a whole page", async () => {
  const locked = Array.from({ length: 100 }, (_, i) => `a${i}`);
  for (const segment of [...locked, "b"]) {
    await store.sql`
      insert into journal_segments (segment_id, tenant_id, live_runs, announced_at)
      values (${segment}, ${acme}, 0, now() - ${segment === "b" ? 2 : 3} * interval '1 day')`;
    bucket.objects.set(segmentKey(acme, segment), Buffer.from("x"));
    if (segment !== "b") bucket.locked.add(segmentKey(acme, segment));
  }
  for (let pass = 0; pass < 2; pass++) await archivePass(store.sql, bucket);
  expect([...bucket.objects.keys()]).toEqual(locked.map((segment) => segmentKey(acme, segment)));
  expect(await store.sql`select from journal_segments`).toHaveLength(100);
});

// Fails when a journal with a hole is archived, and its rows are deleted.
test("a journal that is not whole is left alone for a day", async () => {
  const [torn, whole] = [await endedRun(), await endedRun()];
  await store.sql`delete from journal where run_id = ${torn} and seq = 2`;
  expect(await archivePass(store.sql, bucket)).toBe(1);
  expect(await numbersOf(torn)).toEqual([4]);
  expect(await archivedOf(whole)).toEqual([2, 4]);
  await store.sql`update journals_to_archive set claimed_until = claimed_until - interval '11 minutes'`;
  expect(await archivePass(store.sql, bucket)).toBe(0);
});

// Fails when a bit of an object that changed, or an object of another run, is shown as events.
test("a damaged segment is an error and not events", async () => {
  const run = await endedRun();
  await archivePass(store.sql, bucket);
  for (const [key, bytes] of bucket.objects) {
    bucket.objects.set(
      key,
      bytes.map((byte, i) => (i === bytes.length - 1 ? byte ^ 1 : byte)),
    );
  }
  await expect(archivedOf(run)).rejects.toThrow("SHA-256");
  const place = await placeOf(run);
  if (place === null) throw new Error("the run is not archived");
  const other = { ...place, run_id: await endedRun() };
  await expect(archivedRows(bucket.readRange, other, 0)).rejects.toThrow("another run");
});

// Fails when the sweep looks for the entries of an archived run in Postgres: it would delete the run's values.
test("values of an archived run are no orphans", async () => {
  const run = await endedRun();
  const key = `acme/${run}/a/1.9/set.x`;
  expect(await findOrphans(store.sql, [key])).toEqual([key]);
  await archivePass(store.sql, bucket);
  expect(await findOrphans(store.sql, [key])).toEqual([]);
});

test("a deleted tenant has no segments and nothing to archive", async () => {
  await endedRun();
  await archivePass(store.sql, bucket);
  await endedRun();
  await store.sql`insert into journals_to_archive select tenant_id, ended_at, run_id from runs where archive_segment is null`;
  await store.sql`update tenants set deleted_at = now() - interval '1 hour' where tenant_id = 'acme'`;
  while (await deleteOfTenants(store.sql));
  for (const table of ["runs", "journal", "journal_segments", "journals_to_archive"]) {
    expect([table, await store.sql`select 1 from ${store.sql(table)} where true`]).toEqual([table, []]);
  }
});
