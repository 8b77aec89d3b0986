import { z } from "zod";
import { RunId, TenantId } from "../../contracts/ids.ts";
import { Lane, RunStatus } from "../../contracts/run.ts";
import { FAMILY } from "../money/budget-rows.ts";
import { dequeueJournals } from "../archive/queue-journals.ts";
import type { Sql } from "../sql.ts";
import type { QuotaCheckedBy } from "./accept-runs.ts";
import { CLOSED_BY } from "./waits.ts";

/** What a client's retry reads of a run. */
export const RetriableRun = z.object({
  run_id: RunId,
  tenant_id: TenantId,
  status: RunStatus,
  event_seq: z.number(),
  lane: Lane,
  priority: z.number(),
  correlation_id: z.string(),
  orchestration_id: z.string(),
  definition_tenant: z.string(),
  definition_version: z.number(),
  chat_session: z.string().nullable(),
});
export type RetriableRun = z.infer<typeof RetriableRun>;

/**
 * One run of a tenant; null when that tenant has no such run.
 * @param tenant null: any tenant, for a platform key
 */
export async function readRetriableRun(
  sql: Sql,
  tenant: TenantId | null,
  run: RunId,
): Promise<RetriableRun | null> {
  const [row] = await sql`
    select run_id, tenant_id, status, event_seq, lane, priority, correlation_id, orchestration_id, definition_tenant,
      definition_version, chat_session
    from runs where run_id = ${run} and (${tenant}::text is null or tenant_id = ${tenant})`;
  return row ? RetriableRun.parse(row) : null;
}

/** The entry with which a run's next life begins. */
export type RewindEntry = {
  run_id: RunId;
  tenant_id: TenantId;
  /** The run's `event_seq` when it was read. */
  known_seq: number;
  /** JSON text of RewindRecord. */
  output: string;
  /** One event line. */
  event: string;
  /** The dead letter for which the run is retried, by its number; absent or null: for none. */
  letter?: number | null;
};

/**
 * Queues a failed or cancelled run again, with its rewind, and resolves its dead letter: one statement
 * (docs/protocol.md 5.8). Its time limit begins anew: the run time of the last life does not count.
 * @returns null when the run is neither failed nor cancelled, has changed since it was read (of two retries at once one
 * gets null), `letter` is resolved, or, with `quotaCheckedBy: "postgres"`, its tenant's queue is full. Else the time at which it was queued,
 * in milliseconds since 1970.
 */
export async function retryRun(
  sql: Sql,
  { run_id, tenant_id, known_seq, output, event, letter = null }: RewindEntry,
  quotaCheckedBy: QuotaCheckedBy = "queue",
): Promise<{ queued_at_ms: number; event_seq: number } | null> {
  const room = quotaCheckedBy === "postgres" ? sql`select queue_room(${tenant_id}) as n` : sql`select 1 as n`;
  const [row] = await sql<{ queued_at_ms: number; event_seq: number }[]>`
    with room as (
      ${room}
    ), run as materialized (
      -- The run before the letter, as all statements lock that change both.
      select run_id from runs where run_id = ${run_id} for update
    ), letter as materialized (
      -- A request that dismisses the letter at this moment comes first, or waits for this statement.
      select from run join dead_letters d using (run_id) where d.seq = ${letter}::int and d.resolved_at is null for update of d
    ), requeued as (
      update runs set status = 'queued', wake_at = now(), queued_at = now(), started_at = null, ended_at = null,
        paused_at = null, paused_for = '0',
        error = null, crash_count = 0, cancel_requested_at = null, event_seq = event_seq + 1,
        journal_bytes = journal_bytes + octet_length(${event}::text) + octet_length(${output}::text)
      where run_id = ${run_id} and tenant_id = ${tenant_id} and status in ('failed', 'cancelled')
        and event_seq = ${known_seq} and archive_segment is null and (select n from room) > 0
        and (${letter}::int is null or exists (select from letter))
      returning run_id, event_seq, attempt, floor(extract(epoch from queued_at) * 1000)::float8 as queued_at_ms
    ), written as (
      insert into journal (run_id, seq, events_n, attempt, kind, output, events)
      select run_id, event_seq, 1, attempt, 'rewind', ${output}, ${event} from requeued
    ), closed_waits as (
      -- The next life asks open questions again, goes on with what is left of its timers, and reserves its calls again.
      update waits w set answered_at = now(), answered_by = ${CLOSED_BY.retry} from requeued q
      where w.run_id = q.run_id and w.kind in ('human', 'timer', 'budget') and w.answered_at is null
    ), family as (
      -- The limit of the run begins anew, and so does what the runs below it share.
      delete from budgets where tenant_id = ${tenant_id} and budget_id = (select ${FAMILY} || run_id from requeued)
    ), family_calls as (
      delete from budget_calls where tenant_id = ${tenant_id} and budget_id = (select ${FAMILY} || run_id from requeued)
    ), resolved as (
      update dead_letters d set resolved_at = now() from requeued q
      where d.run_id = q.run_id and d.resolved_at is null
    ), unlisted as (
      -- Retention counts it again when it has ended again.
      delete from lane_ends l using requeued q where l.run_id = q.run_id
    ), dequeued as (
      -- By the end that this statement takes back, which the row still has in its snapshot.
      ${dequeueJournals(sql, sql`select run_id from requeued`)}
    )
    select queued_at_ms, event_seq from requeued`;
  return row ?? null;
}
