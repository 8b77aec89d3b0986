import type { ArchivePlace } from "../../archive/read-archive.ts";
import type { ArchivedEntry } from "../../archive/archived-entry.ts";
import { ofDays } from "../journal/journal-days.ts";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";

/**
 * Begins to restore an archived journal. For an hour no reconciler archives the run; after that hour a reconciler deletes the rows of a
 * restore that was not finished.
 * @returns false when the run has no archived journal there any more
 */
export async function beginRestore(sql: Sql, { run_id, segment_id }: ArchivePlace): Promise<boolean> {
  const rows = await sql`
    insert into journals_to_archive as j (tenant_id, ended_at, run_id, claimed_until)
    select tenant_id, ended_at, run_id, now() + interval '1 hour' from runs
    where run_id = ${run_id} and archive_segment = ${segment_id} and ended_at is not null
    on conflict (tenant_id, ended_at, run_id) do update set claimed_until = excluded.claimed_until
    returning 1`;
  return rows.length > 0;
}

/** Writes rows of an archived journal back. Repeated, it changes nothing. */
export async function restoreRows(
  sql: Sql,
  { run_id, segment_id }: ArchivePlace,
  rows: readonly ArchivedEntry[],
): Promise<void> {
  const column = (read: (row: ArchivedEntry) => string | number | null) => pgArray(rows.map(read));
  await sql`
    insert into journal (run_id, seq, events_n, attempt, kind, step_path, visit, output, events, at)
    select ${run_id}, seq, events_n, attempt, kind, step_path, visit, output, events, to_timestamp(0) + at_us * interval '1 microsecond'
    from unnest(
      ${column((r) => r.seq)}::int[], ${column((r) => r.events_n)}::int[], ${column((r) => r.attempt)}::int[],
      ${column((r) => r.kind)}::text[], ${column((r) => r.step_path)}::text[], ${column((r) => r.visit)}::int[],
      ${column((r) => r.output)}::text[], ${column((r) => r.events)}::text[], ${column((r) => r.at_us)}::float8[]
    ) as j(seq, events_n, attempt, kind, step_path, visit, output, events, at_us)
    where exists (select from runs where run_id = ${run_id} and archive_segment = ${segment_id})
    on conflict do nothing`;
}

/**
 * Ends a restore: from here on the run's journal is in Postgres, if all its entries are there.
 * @returns false when they are not, or another request has restored the journal
 */
export async function finishRestore(sql: Sql, { run_id, segment_id }: ArchivePlace): Promise<boolean> {
  const rows = await sql`
    with restored as (
      update runs set archive_segment = null, archive_offset = null, archive_length = null
      where run_id = ${run_id} and archive_segment = ${segment_id}
        and event_seq = (select sum(events_n) from journal where run_id = ${run_id} and ${ofDays(sql, [run_id])})
      returning archive_segment
    )
    update journal_segments g set live_runs = live_runs - 1,
      unused_since = case when live_runs = 1 then now() end
    where g.segment_id = ${segment_id} and exists (select from restored)
    returning 1`;
  return rows.length > 0;
}
