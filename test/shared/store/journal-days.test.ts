import postgres from "postgres";
import { afterEach, beforeEach, expect, test } from "vitest";
import { newRunId } from "../../../shared/contracts/ids.ts";
import type { RunId } from "../../../shared/contracts/ids.ts";
import { readArchivePlace } from "../../../shared/store/archive/archive-journals.ts";
import { deleteExpired } from "../../../shared/store/delete-expired.ts";
import { flush } from "../../../shared/store/journal/flush.ts";
import { keepJournalDays } from "../../../shared/store/journal/journal-days.ts";
import { VIEWER_PAGE, readEntries, readStoredPage } from "../../../shared/store/journal/read-journal.ts";
import { testConnection } from "../../services/databases.ts";
import { partitionJournal } from "../../../worker-node/clients/partition-journal.ts";
import { ageEnd, archivePass } from "../../services/archive.ts";
import { MemoryBucket } from "../../services/memory-bucket.ts";
import { openStore, stepEntry } from "./store-fixture.ts";
import type { Store } from "./store-fixture.ts";

let store: Store;
beforeEach(async () => {
  store = await openStore();
});
afterEach(() => store.close());

const DAY_MS = 86_400_000;
const nameAt = (day: number): string =>
  `journal_${new Date(Date.now() + day * DAY_MS).toISOString().slice(0, 10).replaceAll("-", "")}`;
const partitions = async (): Promise<unknown[]> => {
  const rows = await store.sql`
    select inhrelid::regclass::text as name from pg_inherits where inhparent = 'journal'::regclass order by 1`;
  return rows.map(({ name }) => name);
};
const dayOf = (run: RunId) => store.sql`
  select distinct tableoid::regclass::text as name from journal where run_id = ${run}`;
const seqsOf = async (run: RunId): Promise<unknown> => {
  const page = await readEntries(store.sql, run, 0, VIEWER_PAGE);
  return Array.isArray(page) && page.map(({ seq }) => seq);
};
const addDay = (day: number) =>
  store.sql`select add_journal_day((now() at time zone 'UTC')::date + ${day}::int)`;

/** A claimed run that was accepted so many days ago, with this many results of two events each. */
async function runOf(day: number, results: number) {
  const run = await store.startRun({ run_id: newRunId(Date.now() + day * DAY_MS) });
  for (let i = 0; i < results; i++) await flush(store.sql, [stepEntry({ ...run, event_seq: 2 * i })]);
  return { ...run, event_seq: 2 * results };
}

// Fails when an entry of a run without a partition is refused, or is not read.
test("a run's entries are in the partition of its id's day, and without one in journal_rest", async () => {
  const today = await runOf(0, 2);
  const old = await runOf(-400, 2);
  expect(await dayOf(today.run_id)).toEqual([{ name: nameAt(0) }]);
  expect(await dayOf(old.run_id)).toEqual([{ name: "journal_rest" }]);
  for (const { run_id } of [today, old]) {
    expect(await seqsOf(run_id)).toEqual([2, 4]);
    expect((await readStoredPage(store.sql, run_id, 0, 4)).entries).toHaveLength(2);
  }
});

// Fails when the day is a parameter, or written in a form that Postgres does not compare with the partitions.
test("a read of a run's journal looks into the partition of its day alone", async () => {
  const run = newRunId(Date.now());
  const statements: string[] = [];
  const sql = postgres(store.url, {
    ...testConnection,
    max: 1,
    debug: (_, query) => statements.push(query),
  });
  try {
    await readEntries(sql, run, 0, VIEWER_PAGE);
    await readStoredPage(sql, run, 0, 10);
    const plans: string[] = [];
    for (const query of statements.splice(0).filter((text) => text.includes("from journal"))) {
      // The plan is generic: it does not depend on these values.
      const values = Array.from(new Set(query.match(/\$\d+/g)), () => "'0'").join();
      await sql.unsafe("set plan_cache_mode = force_generic_plan");
      await sql.unsafe(`prepare explained as ${query}`);
      const rows = await sql.unsafe(`explain execute explained(${values})`);
      await sql.unsafe("deallocate explained");
      plans.push(rows.map((row) => String(row["QUERY PLAN"])).join("\n"));
    }
    expect(plans).toHaveLength(3);
    for (const plan of plans) {
      expect([...new Set(plan.match(/\bon (journal\w*)/g))]).toEqual([`on ${nameAt(0)}`]);
      expect(plan).toContain("Index");
    }
  } finally {
    await sql.end({ timeout: 1 });
  }
});

test("seven days to come have partitions, and another pass adds none", async () => {
  const days = [0, 1, 2, 3, 4, 5, 6, 7].map(nameAt);
  expect(await partitions()).toEqual([...days, "journal_rest"]);
  await store.sql`drop table ${store.sql(nameAt(6))}, ${store.sql(nameAt(7))}`;
  expect(await keepJournalDays(store.sql)).toBe(true);
  expect(await partitions()).toEqual([...days, "journal_rest"]);
  expect(await keepJournalDays(store.sql)).toBe(false);
});

// Fails when the space of archived journals stays with Postgres.
test("the partition of a past day is dropped when its journals are archived", async () => {
  await addDay(-4);
  const run = await runOf(-4, 40);
  const end = { kind: "end" as const, status: "failed" as const, step_path: null, visit: null, output: "{}" };
  await flush(store.sql, [stepEntry(run, end)]);
  await ageEnd(store.sql, run.run_id);
  expect(await partitions()).toContain(nameAt(-4));
  expect(await archivePass(store.sql, new MemoryBucket())).toBe(1);
  expect(await readArchivePlace(store.sql, run.run_id)).not.toBeNull();
  await deleteExpired(store.sql);
  expect(await partitions()).not.toContain(nameAt(-4));
  expect(await store.sql`select to_regclass(${nameAt(-4)}) as gone`).toEqual([{ gone: null }]);
});

// Fails when entries of a run that waits for weeks are lost with its day, or come twice.
test("a run that has not ended keeps its journal when its day is dropped", async () => {
  await addDay(-4);
  const run = await runOf(-4, 3);
  expect(await dayOf(run.run_id)).toEqual([{ name: nameAt(-4) }]);
  expect(await keepJournalDays(store.sql)).toBe(true);
  expect(await dayOf(run.run_id)).toEqual([{ name: "journal_rest" }]);
  expect(await flush(store.sql, [stepEntry(run)])).toMatchObject([{ event_seq: 8 }]);
  expect(await seqsOf(run.run_id)).toEqual([2, 4, 6, 8]);
});

test("a day in which many journals are left stays, and so does yesterday", async () => {
  await addDay(-4);
  await addDay(-1);
  const run = newRunId(Date.now() - 4 * DAY_MS);
  await store.sql`
    insert into journal (run_id, seq, events_n, attempt, kind, events)
    select ${run}, i, 1, 1, 'note', '{}' from generate_series(1, 1001) i`;
  expect(await keepJournalDays(store.sql)).toBe(false);
  expect(await partitions()).toEqual(expect.arrayContaining([nameAt(-4), nameAt(-1)]));
  await store.sql`delete from journal where run_id = ${run} and seq = 1`;
  expect(await keepJournalDays(store.sql)).toBe(true);
  expect(await dayOf(run)).toEqual([{ name: "journal_rest" }]);
});

test("two reconcilers at once add and drop each day once", async () => {
  await addDay(-4);
  await store.sql`drop table ${store.sql(nameAt(7))}`;
  const atOnce = () => Promise.all([keepJournalDays(store.sql), keepJournalDays(store.sql)]);
  const changes = [...(await atOnce()), ...(await atOnce())];
  expect(changes.filter((hasChanged) => hasChanged)).toHaveLength(2);
  expect(await partitions()).toContain(nameAt(7));
  expect(await partitions()).not.toContain(nameAt(-4));
});

// Fails when a pass waits for a long read, and each flush waits behind the pass.
test("a pass leaves a day alone that a statement reads, and commits nothing of it", async () => {
  await addDay(-4);
  const run = await runOf(-4, 1);
  await store.sql.begin(async (tx) => {
    await tx`select 1 from journal where run_id = ${run.run_id}`;
    expect(await keepJournalDays(store.sql)).toBe(false);
    expect(await flush(store.sql, [stepEntry(run)])).toHaveLength(1);
  });
  expect(await dayOf(run.run_id)).toEqual([{ name: nameAt(-4) }]);
  expect(await keepJournalDays(store.sql)).toBe(true);
  expect(await seqsOf(run.run_id)).toEqual([2, 4]);
});

// Fails when a past day that cannot be dropped takes the days to come back, or keeps the space of the past days after it.
test("a past day that cannot be dropped keeps no other day from being added or dropped", async () => {
  await addDay(-5);
  await addDay(-4);
  await store.sql.unsafe(`create view report as select * from ${nameAt(-5)}`);
  await store.sql`drop table ${store.sql(nameAt(7))}`;
  expect(await keepJournalDays(store.sql)).toBe(true);
  expect(await partitions()).toContain(nameAt(7));
  expect(await keepJournalDays(store.sql)).toBe(true);
  expect(await partitions()).toContain(nameAt(-5));
  expect(await partitions()).not.toContain(nameAt(-4));
  expect(await keepJournalDays(store.sql)).toBe(false);
});

// Fails when one id from a wrong clock keeps the days after it from having partitions.
test("a day whose runs are in journal_rest already stays there", async () => {
  await store.sql`drop table ${store.sql(nameAt(6))}, ${store.sql(nameAt(7))}`;
  const run = await runOf(6, 1);
  expect(await keepJournalDays(store.sql)).toBe(true);
  expect(await partitions()).toContain(nameAt(7));
  expect(await dayOf(run.run_id)).toEqual([{ name: "journal_rest" }]);
  expect(await seqsOf(run.run_id)).toEqual([2]);
});

/** The journal as it was before migration 0045. */
async function oneTable(): Promise<void> {
  await store.sql.unsafe(`
    alter table journal rename to by_day;
    create table journal (like by_day including defaults including constraints);
    drop table by_day;
    alter table journal add primary key (run_id, seq);
    create index journal_at on journal using brin (at)`);
}

// Fails when entries are lost or refused on the way, or those of later days stay in the old table.
test("the journal of a database with runs is divided by a command, while runs go on", async () => {
  await oneTable();
  const run = await runOf(-400, 2);
  expect(await keepJournalDays(store.sql)).toBe(false);
  await partitionJournal(store.url);
  const until = nameAt(7).replace("journal_", "journal_before_");
  expect(await dayOf(run.run_id)).toEqual([{ name: until }]);
  await flush(store.sql, [stepEntry(run)]);
  expect(await seqsOf(run.run_id)).toEqual([2, 4, 6]);
  const [today, later] = [await runOf(0, 1), await runOf(8, 1)];
  expect(await dayOf(today.run_id)).toEqual([{ name: until }]);
  expect(await dayOf(later.run_id)).toEqual([{ name: nameAt(8) }]);
  expect(await partitions()).toHaveLength(10);
  await partitionJournal(store.url);
  expect(await partitions()).toHaveLength(10);
});

// Fails when a constraint of a command that died refuses the runs of the week after it.
test("a command that fails leaves the journal as it was, and is repeated after a death", async () => {
  await oneTable();
  const ahead = await runOf(30, 1);
  await expect(partitionJournal(store.url)).rejects.toThrow("journal_days");
  expect(await flush(store.sql, [stepEntry(ahead)])).toHaveLength(1);
  await store.sql`delete from journal`;
  await store.sql`alter table journal add constraint journal_days check (right(run_id, 13) < '0') not valid`;
  await partitionJournal(store.url);
  const run = await runOf(0, 1);
  expect(await seqsOf(run.run_id)).toEqual([2]);
  const left = await store.sql`select conname from pg_constraint where conname = 'journal_days'`;
  expect(left).toEqual([]);
});
