import { z } from "zod";
import { ArchivedEntry } from "../../archive/archived-entry.ts";
import { ArchivePlace } from "../../archive/read-archive.ts";
import { RunId } from "../../contracts/ids.ts";
import { ofDays } from "../journal/journal-days.ts";
import { pgArray } from "../sql.ts";
import type { PendingQuery, Row, Sql } from "../sql.ts";

/** A position among the rows of several runs. */
export const JournalPosition = z.object({ run_id: z.string(), seq: z.number().int() });
export type JournalPosition = z.infer<typeof JournalPosition>;

/** A row of a journal with its run. */
export const JournalRow = ArchivedEntry.extend({ run_id: RunId });
export type JournalRow = z.infer<typeof JournalRow>;

const PAGE_ROWS = 2_000;
const PAGE_BYTES = 1024 * 1024;

/** A page of rows of these runs after a position, ordered by run and number. A page ends after 1 MiB; empty: there are no more rows. */
export async function readJournals(
  sql: Sql,
  runs: readonly RunId[],
  after: JournalPosition,
): Promise<JournalRow[]> {
  return sql<JournalRow[]>`
    select run_id, ${entryColumns(sql)} from (
      select *, sum(bytes) over (order by run_id, seq) - bytes as bytes_before from (
        select *, octet_length(events) + coalesce(octet_length(output), 0) as bytes from journal
        where run_id = any (${pgArray(runs)}::text[]) and ${ofDays(sql, runs)} and (run_id, seq) > (${after.run_id}, ${after.seq}::int)
        order by run_id, seq limit ${PAGE_ROWS}) j) page
    where bytes_before < ${PAGE_BYTES} order by run_id, seq`;
}

function entryColumns(sql: Sql) {
  return sql`seq, events_n, attempt, kind, step_path, visit, output, events,
      (extract(epoch from at) * 1000000)::float8 as at_us`;
}

/** A segment whose object is stored, with its parts. `event_seq`: the number of the last event in a part. */
export const StoredSegment = z.object({
  segment_id: z.string(),
  parts: z
    .array(
      ArchivePlace.pick({ run_id: true, offset: true, length: true }).extend({ event_seq: z.number().int() }),
    )
    .max(500),
});
export type StoredSegment = z.infer<typeof StoredSegment>;

/**
 * Records a stored segment on its runs, and deletes their journals from Postgres: one statement (docs/protocol.md 7.14). A run
 * that was retried, archived by another reconciler, or deleted since it was read is left out.
 * @returns how many runs refer to the segment now
 */
export async function recordSegment(sql: Sql, { segment_id, parts }: StoredSegment): Promise<number> {
  const days = ofDays(
    sql,
    parts.map(({ run_id }) => run_id),
  );
  const [row] = await sql<{ recorded: number }[]>`
    with segment as materialized (
      select segment_id, tenant_id from journal_segments
      where segment_id = ${segment_id} and stored_at is null and deleted_at is null for update
    ), p as materialized (
      select * from unnest(
        ${pgArray(parts.map((part) => part.run_id))}::text[], ${pgArray(parts.map((part) => part.event_seq))}::int[],
        ${pgArray(parts.map((part) => part.offset))}::int[], ${pgArray(parts.map((part) => part.length))}::int[]
      ) as p(run_id, event_seq, "offset", length)
    ), locked as materialized (
      select r.run_id from segment s join runs r on r.tenant_id = s.tenant_id
      where r.run_id in (select run_id from p) order by r.run_id for update of r
    ), recorded as (
      update runs r set archive_segment = s.segment_id, archive_offset = p."offset", archive_length = p.length
      from p join locked using (run_id), segment s
      where r.run_id = p.run_id and r.event_seq = p.event_seq and r.ended_at is not null and r.archive_segment is null
      returning r.run_id, r.tenant_id, r.ended_at
    ), deleted as (
      delete from journal where run_id in (select run_id from recorded) and ${days}
    ), dequeued as (
      delete from journals_to_archive j using recorded r
      where j.tenant_id = r.tenant_id and j.ended_at = r.ended_at and j.run_id = r.run_id
    ), stored as (
      update journal_segments g set stored_at = now(), live_runs = (select count(*) from recorded),
        unused_since = case when not exists (select from recorded) then now() end
      from segment s where g.segment_id = s.segment_id
    )
    select count(*)::int as recorded from recorded`;
  return row?.recorded ?? 0;
}

/** Postpones journals that are not whole for a day, so that a reconciler does not read them every ten minutes. */
export async function postponeJournals(sql: Sql, runs: readonly RunId[]): Promise<null> {
  await sql`
    update journals_to_archive j set claimed_until = now() + interval '1 day' from runs r
    where r.run_id = any (${pgArray(runs)}::text[])
      and j.tenant_id = r.tenant_id and j.ended_at = r.ended_at and j.run_id = r.run_id`;
  return null;
}

/** Where the journal of a run is in the archive; null: it is in Postgres. */
export async function readArchivePlace(sql: Sql, run: RunId): Promise<ArchivePlace | null> {
  const [row] = await sql<{ place: unknown }[]>`
    select ${placeJson(sql)} as place from runs where run_id = ${run} and archive_segment is not null`;
  return row ? ArchivePlace.parse(row.place) : null;
}

/** An ArchivePlace as JSON, from a row of `runs`. */
export function placeJson(sql: Sql): PendingQuery<Row[]> {
  return sql`json_build_object('run_id', run_id, 'tenant_id', tenant_id, 'segment_id', archive_segment,
      'offset', archive_offset, 'length', archive_length)`;
}

/** A segment whose object is to be deleted. */
export const UnusedSegment = z.object({ segment_id: z.string(), tenant_id: z.string() });
export type UnusedSegment = z.infer<typeof UnusedSegment>;

/**
 * Segments whose objects are to be deleted: those that a reconciler announced a day ago and never recorded, and those to which no run
 * has referred for seven days. So a database that is restored to a time within seven days has all its archived journals. Those that were
 * returned before come last: their store may refuse to delete them.
 */
export async function takeUnusedSegments(sql: Sql): Promise<UnusedSegment[]> {
  const rows = await sql<UnusedSegment[]>`
    update journal_segments set deleted_at = coalesce(deleted_at, now()) where segment_id in (
      select segment_id from journal_segments
      where live_runs = 0 and announced_at < now() - interval '1 day'
        and (stored_at is null or unused_since < now() - interval '7 days')
      order by deleted_at nulls first, announced_at limit 100 for update skip locked) and live_runs = 0
    returning segment_id, tenant_id`;
  return [...rows];
}

/** Deletes the rows of segments whose objects are deleted. */
export async function forgetSegments(sql: Sql, segments: readonly string[]): Promise<null> {
  await sql`
    delete from journal_segments where segment_id = any (${pgArray(segments)}::text[]) and deleted_at is not null`;
  return null;
}
