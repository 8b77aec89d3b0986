import { RunId } from "../../contracts/ids.ts";
import type { TenantId } from "../../contracts/ids.ts";
import type { StoredEntry, StoredPage } from "../../contracts/journal-entry.ts";
import type { ReadStored } from "../../journal/fold.ts";
import { REFERS_TO_EVENTS } from "../../journal/records.ts";
import type { EntryLines } from "../../events/lines.ts";
import { ArchivePlace } from "../../archive/read-archive.ts";
import { placeJson } from "../archive/archive-journals.ts";
import { pgArray } from "../sql.ts";
import { ofDays } from "./journal-days.ts";
import type { Sql } from "../sql.ts";

/** The runs of those entries that are in the journal. Called for entries that a flush did not return, in a statement after that flush. */
export async function findCommitted(
  sql: Sql,
  entries: readonly { run_id: RunId; seq: number; attempt: number }[],
): Promise<RunId[]> {
  const rows = await sql<{ run_id: RunId }[]>`
    select j.run_id from journal j
    join unnest(
      ${pgArray(entries.map((e) => e.run_id))}::text[], ${pgArray(entries.map((e) => e.seq))}::int[],
      ${pgArray(entries.map((e) => e.attempt))}::int[]) as e(run_id, seq, attempt)
    using (run_id, seq, attempt)
    where ${ofDays(
      sql,
      entries.map((entry) => entry.run_id),
      "j",
    )}`;
  return rows.map((row) => row.run_id);
}

/** The most entries of a page for `fold`, and the bytes after which it takes no further entry. */
const STORED_PAGE_ENTRIES = 2_000;
const STORED_PAGE_BYTES = 1024 * 1024;

/**
 * A page of what a fold reads of a journal: entries with numbers after `after` and up to `upto`, except notes, in order, with
 * their events only where an output refers to them. Only the first page (`after` 0) has the run's rewinds: a fold needs them
 * before the entries that they cut.
 */
export async function readStoredPage(sql: Sql, run: RunId, after: number, upto: number): Promise<StoredPage> {
  const rows = await sql<(StoredEntry & { found: number })[]>`
    select seq, kind, step_path, output, case when starts_with(output, ${REFERS_TO_EVENTS}) then events end as events,
      case when kind = 'park' then extract(epoch from now() - at)::float8 * 1000 end as age_ms, found
    from (
      select seq, kind, step_path, output, events, at, count(*) over ()::int as found,
        sum(bytes) over (order by seq) - bytes as bytes_before
      from (
        select seq, kind, step_path, output, events, at, coalesce(octet_length(output), 0) + octet_length(events) as bytes
        from journal
        where run_id = ${run} and ${ofDays(sql, [run])} and seq > ${after} and seq <= ${upto} and kind <> 'note'
        order by seq limit ${STORED_PAGE_ENTRIES}) j) page
    where bytes_before < ${STORED_PAGE_BYTES} order by seq`;
  const found = rows[0]?.found ?? 0;
  const entries = rows.map(({ found: _found, ...entry }) => entry);
  const more = rows.length < found || found === STORED_PAGE_ENTRIES;
  return { entries, more, rewinds: after === 0 ? await readRewinds(sql, run, upto) : [] };
}

async function readRewinds(sql: Sql, run: RunId, upto: number): Promise<StoredEntry[]> {
  const rows = await sql<StoredEntry[]>`
    select seq, kind, output from journal
    where run_id = ${run} and ${ofDays(sql, [run])} and kind = 'rewind' and seq <= ${upto} order by seq`;
  return [...rows];
}

/** Reads a run's journal up to the number `upto` from this database, page by page. */
export function pagesOf(sql: Sql, run: RunId, upto: number): ReadStored {
  return (after) => readStoredPage(sql, run, after, upto);
}

/** The most entries of a page, and the bytes after which it takes no further entry. */
export type PageSize = { entries: number; bytes: number };

const PAGE_ENTRIES = 500;
const FEED_PAGE_BYTES = 256 * 1024;
const CLIENT_PAGE_BYTES = 256 * 1024;
/** A page for viewers. */
export const VIEWER_PAGE: PageSize = { entries: PAGE_ENTRIES, bytes: 64 * 1024 };

/** A page for a client that asked for `limit` entries. */
export function clientPage(limit: number): PageSize {
  return { entries: limit, bytes: CLIENT_PAGE_BYTES };
}

/**
 * A page of event lines: entries with events after number `after`, in order; empty: there are none. If the journal is in the
 * archive and has such entries, its place there: `entriesFrom` reads them.
 */
export async function readEntries(
  sql: Sql,
  run: RunId,
  after: number,
  size: PageSize,
): Promise<EntryLines[] | ArchivePlace> {
  const rows = await sql<(EntryLines & { place: unknown })[]>`
    (select seq, events_n, events, null::json as place from (
      select seq, events_n, events, sum(octet_length(events)) over (order by seq) - octet_length(events) as bytes_before
      from journal where run_id = ${run} and ${ofDays(sql, [run])} and seq > ${after} order by seq limit ${size.entries}) page
    where bytes_before < ${size.bytes} order by seq)
    union all
    (select null, null, null, ${placeJson(sql)} from runs
    where run_id = ${run} and archive_segment is not null and event_seq > ${after})`;
  const place = rows.at(-1)?.place ?? null;
  if (place !== null) return ArchivePlace.parse(place);
  return rows.map(({ seq, events_n, events }) => ({ seq, events_n, events }));
}

/** An entry with its run, and its time by Postgres' clock in microseconds since 1970. */
export type TimedEntry = EntryLines & { run_id: RunId; at_us: number };

/** A position among the entries of many runs. All entries of one flush have the same time. */
export type FeedPosition = Pick<TimedEntry, "at_us" | "run_id" | "seq">;

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
  after: FeedPosition | number,
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
