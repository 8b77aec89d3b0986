import { z } from "zod";
import { RunId, TenantId, randomHex } from "../../contracts/ids.ts";
import type { PendingQuery, Row, Sql } from "../sql.ts";

/** The most runs of one segment, and the bytes of journal after which it takes no further run. */
const BATCH_RUNS = 500;
const BATCH_BYTES = 16 * 1024 * 1024;
/** How many ended runs one call queues. */
const QUEUED_RUNS = 2_000;

/**
 * Queues journals to be archived (docs/protocol.md 7.14): those of the next runs that ended more than 25 hours ago. Not sooner, because
 * the feed of a tenant reads a day of the journal from Postgres.
 * @returns true when more may be left
 */
export async function queueEndedRuns(sql: Sql): Promise<boolean> {
  const [row] = await sql<{ found: number }[]>`
    with span as materialized (
      select last_ended_at, last_run from archive_progress where begins_at <= now() for update
    ), page as materialized (
      select r.ended_at, r.run_id, r.tenant_id, r.event_seq from runs r
      where r.ended_at >= (select last_ended_at from span) and r.ended_at < now() - interval '25 hours'
        and (r.ended_at, r.run_id) > (select last_ended_at, last_run from span)
      order by r.ended_at, r.run_id limit ${QUEUED_RUNS}
    ), queued as (
      insert into journals_to_archive (tenant_id, ended_at, run_id)
      select tenant_id, ended_at, run_id from page where event_seq > 0
      on conflict do nothing
    ), moved as (
      update archive_progress p set last_ended_at = l.ended_at, last_run = l.run_id
      from (select ended_at, run_id from page order by ended_at desc, run_id desc limit 1) l
    )
    select count(*)::int as found from page`;
  return row?.found === QUEUED_RUNS;
}

/**
 * Runs of one tenant whose journals this caller archives now, and the segment that it may store for them. `joins`: text deltas are
 * joined in it (docs/protocol.md 7.14).
 */
export const JournalBatch = z.object({
  tenant_id: TenantId,
  segment_id: z.string(),
  // An edge of an earlier version does not send it.
  joins: z.boolean().default(false),
  runs: z.array(z.object({ run_id: RunId, event_seq: z.number().int() })),
});
export type JournalBatch = z.infer<typeof JournalBatch>;

/**
 * Claims queued journals of the next tenant after `after` that has some to archive, and announces a segment for them. For ten
 * minutes no other caller gets them. A queued run that was retried or deleted meanwhile is dropped from the queue.
 * @returns null when no tenant after `after` has journals to archive; `runs` may be empty
 */
export async function claimJournals(sql: Sql, after: string): Promise<JournalBatch | null> {
  const segment_id = randomHex(8);
  const [row] = await sql`
    with recursive queued as (
      (select tenant_id from journals_to_archive where tenant_id > ${after} order by tenant_id limit 1)
      union all
      select (select q.tenant_id from journals_to_archive q where q.tenant_id > t.tenant_id order by q.tenant_id limit 1)
      from queued t where t.tenant_id is not null
    ), chosen as materialized (
      select t.tenant_id, ${endedBefore(sql)} as ended_before from queued q join tenants t using (tenant_id)
      where exists (
        select from journals_to_archive j where j.tenant_id = t.tenant_id and j.ended_at < ${endedBefore(sql)}
          and (j.claimed_until is null or j.claimed_until < now()))
      limit 1
    ), due as materialized (
      select j.tenant_id, j.ended_at, j.run_id from chosen c cross join lateral (
        select * from journals_to_archive j
        where j.tenant_id = c.tenant_id and j.ended_at < c.ended_before
          and (j.claimed_until is null or j.claimed_until < now())
        order by j.ended_at, j.run_id limit ${BATCH_RUNS} for update skip locked
      ) j
    ), found as (
      select d.*, r.event_seq, coalesce(r.ended_at = d.ended_at, false) as ended, r.archive_segment is not null as archived,
        sum(coalesce(r.journal_bytes, 0)) over (order by d.ended_at, d.run_id) - coalesce(r.journal_bytes, 0) as bytes_before
      from due d left join runs r using (run_id)
    ), taken as materialized (
      select * from found where bytes_before < ${BATCH_BYTES}
    ), dropped as (
      delete from journals_to_archive j using taken t
      where (not t.ended or t.archived)
        and j.tenant_id = t.tenant_id and j.ended_at = t.ended_at and j.run_id = t.run_id
    ), half_restored as (
      -- The rows of a restore that was not finished: the run still refers to its segment.
      delete from journal e using taken t
      where t.ended and t.archived and e.run_id = t.run_id and right(e.run_id, 13) = right(t.run_id, 13)
    ), claimed as (
      update journals_to_archive j set claimed_until = now() + interval '10 minutes' from taken t
      where t.ended and not t.archived
        and j.tenant_id = t.tenant_id and j.ended_at = t.ended_at and j.run_id = t.run_id
      returning j.run_id, t.event_seq
    ), announced as (
      insert into journal_segments (segment_id, tenant_id)
      select ${segment_id}, tenant_id from chosen where exists (select from claimed)
    )
    select tenant_id, ${segment_id} as segment_id, (select joins_at <= now() from archive_progress) as joins,
      (select coalesce(json_agg(json_build_object('run_id', run_id, 'event_seq', event_seq)), '[]') from claimed) as runs
    from chosen`;
  return row ? JournalBatch.parse(row) : null;
}

/** The time before which a run of a tenant `t` must have ended for its journal to be archived. */
function endedBefore(sql: Sql) {
  return sql`now() - coalesce((t.retention->>'journal_days')::int, 1) * interval '1 day' - interval '1 hour'`;
}

/** Deletes the places of runs in the queue: a tenant may keep its journals in Postgres for longer than its runs. `runs`: a select of ids. */
export function dequeueJournals(sql: Sql, runs: PendingQuery<Row[]>): PendingQuery<Row[]> {
  return sql`delete from journals_to_archive j using runs r
      where r.run_id in (${runs}) and j.tenant_id = r.tenant_id and j.ended_at = r.ended_at and j.run_id = r.run_id`;
}
