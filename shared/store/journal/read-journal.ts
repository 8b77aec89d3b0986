import { RunId } from "../../contracts/ids.ts";
import type { TenantId } from "../../contracts/ids.ts";
import type { StoredEntry } from "../../contracts/journal-entry.ts";
import type { EntryLines } from "../../events/lines.ts";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";

/** The runs whose entries are in the journal. For entries that a flush left out, in a statement after that flush. */
export async function findCommitted(
  sql: Sql,
  entries: readonly { run_id: RunId; seq: number; attempt: number }[],
): Promise<RunId[]> {
  const rows = await sql<{ run_id: RunId }[]>`
    select j.run_id from journal j
    join unnest(
      ${pgArray(entries.map((e) => e.run_id))}::text[], ${pgArray(entries.map((e) => e.seq))}::int[],
      ${pgArray(entries.map((e) => e.attempt))}::int[]) as e(run_id, seq, attempt)
    using (run_id, seq, attempt)`;
  return rows.map((row) => row.run_id);
}

/** What `fold` needs: all entries of each run except notes, in order, without their events. */
export async function readStored(sql: Sql, runs: readonly RunId[]): Promise<Map<RunId, StoredEntry[]>> {
  const rows = await sql<(StoredEntry & { run_id: RunId })[]>`
    select run_id, seq, kind, output from journal
    where run_id = any(${pgArray(runs)}::text[]) and kind <> 'note' order by run_id, seq`;
  const byRun = new Map<RunId, StoredEntry[]>();
  for (const { run_id, ...entry } of rows) {
    const entries = byRun.get(run_id);
    if (entries) entries.push(entry);
    else byRun.set(run_id, [entry]);
  }
  return byRun;
}

/** A page for viewers holds at most so many entries, and no entry after so many bytes. */
const PAGE_ENTRIES = 500;
const RUN_PAGE_BYTES = 64 * 1024;
const FEED_PAGE_BYTES = 256 * 1024;

/** Event lines for a client: the entries with events after number `afterSeq`, in order. */
export async function readEntries(
  sql: Sql,
  run: RunId,
  afterSeq: number,
  limit: number,
): Promise<EntryLines[]> {
  return sql<EntryLines[]>`
    select seq, events_n, events from journal
    where run_id = ${run} and seq > ${afterSeq} order by seq limit ${limit}`;
}

/** A page of event lines for viewers: entries with events after number `afterSeq`, in order; empty: there are none. */
export async function readPage(sql: Sql, run: RunId, afterSeq: number): Promise<EntryLines[]> {
  return sql<EntryLines[]>`
    select seq, events_n, events from (
      select seq, events_n, events, sum(octet_length(events)) over (order by seq) - octet_length(events) as bytes_before
      from journal where run_id = ${run} and seq > ${afterSeq} order by seq limit ${PAGE_ENTRIES}) page
    where bytes_before < ${RUN_PAGE_BYTES} order by seq`;
}

/** An entry with its run, and its time by Postgres' clock in microseconds since 1970. */
export type TimedEntry = EntryLines & { run_id: RunId; at_us: number };

/** A position among the entries of many runs. All entries of one flush have the same time. */
export type FeedPlace = Pick<TimedEntry, "at_us" | "run_id" | "seq">;

/** A page of a feed. `more`: the next page may have entries. */
export type FeedPage = { entries: TimedEntry[]; more: boolean };

/**
 * A page of the entries of a tenant (null: of all tenants), in order of (time, run, number). It begins after the position
 * `after`, or at a time if `after` is a number, and ends before `untilUs`. Times are microseconds.
 *
 * An entry's time is when its statement began: it may be committed seconds after entries with later times.
 */
export async function readTenantEntries(
  sql: Sql,
  tenant: TenantId | null,
  after: FeedPlace | number,
  untilUs: number,
): Promise<FeedPage> {
  const fromUs = typeof after === "number" ? after : after.at_us;
  const isAfter =
    typeof after === "number"
      ? sql``
      : sql`and (j.at, j.run_id, j.seq) > (${timeOf(sql, fromUs)}, ${after.run_id}, ${after.seq}::int)`;
  const rows = await sql<(TimedEntry & { found: number })[]>`
    select run_id, seq, events_n, events, (extract(epoch from at) * 1000000)::float8 as at_us, found from (
      select j.run_id, j.seq, j.events_n, j.events, j.at, count(*) over ()::int as found,
        sum(octet_length(j.events)) over (order by j.at, j.run_id, j.seq) - octet_length(j.events) as bytes_before
      from (
        select j.run_id, j.seq, j.events_n, j.events, j.at
        from journal j ${tenant === null ? sql`` : sql`join runs r on r.run_id = j.run_id and r.tenant_id = ${tenant}`}
        where j.at >= ${timeOf(sql, fromUs)} and j.at < ${timeOf(sql, untilUs)} ${isAfter}
        order by j.at, j.run_id, j.seq limit ${PAGE_ENTRIES}) j) page
    where bytes_before < ${FEED_PAGE_BYTES} order by at, run_id, seq`;
  const found = rows[0]?.found ?? 0;
  return { entries: rows, more: rows.length < found || found === PAGE_ENTRIES };
}

function timeOf(sql: Sql, us: number) {
  return sql`to_timestamp(${us}::float8 / 1000000)`;
}

/** The time of Postgres' clock, which is that of the entries, in microseconds since 1970. */
export async function journalClock(sql: Sql): Promise<number> {
  const [row] = await sql<
    { us: number }[]
  >`select (extract(epoch from clock_timestamp()) * 1000000)::float8 as us`;
  if (!row) throw new Error("Postgres returned no time");
  return row.us;
}
