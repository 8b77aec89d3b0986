import { z } from "zod";
import { RunId, TenantId } from "../../contracts/ids.ts";
import { Lane, RunStatus } from "../../contracts/run.ts";
import type { Sql } from "../sql.ts";
import { CLOSED_BY } from "./waits.ts";

/** A run as a retry needs to know it. */
export const Retriable = z.object({
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
});
export type Retriable = z.infer<typeof Retriable>;

/** One run of a tenant (null: of any); null when there is none. */
export async function readRetriable(
  sql: Sql,
  tenant: TenantId | null,
  run: RunId,
): Promise<Retriable | null> {
  const [row] = await sql`
    select run_id, tenant_id, status, event_seq, lane, priority, correlation_id, orchestration_id, definition_tenant,
      definition_version
    from runs where run_id = ${run} and (${tenant}::text is null or tenant_id = ${tenant})`;
  return row ? Retriable.parse(row) : null;
}

/** A life that is to begin anew: the entry that says from where. */
export type Rewind = {
  run_id: RunId;
  tenant_id: TenantId;
  known_seq: number;
  /** JSON text of RewindRecord. */
  output: string;
  /** One event line. */
  event: string;
};

/**
 * Queues a failed or cancelled run again, as far as its journal keeps it, and resolves its dead letter: one statement.
 * Null when it has changed since it was read, or is neither; of two at once one gets null. Its clock begins anew: what
 * the first life took is no part of the second's time.
 *
 * `quotaCheckedBy`: the store that checks that the tenant's queue has room, as for `acceptRuns`. `postgres` and no
 * room: null.
 */
export async function retryRun(
  sql: Sql,
  { run_id, tenant_id, known_seq, output, event }: Rewind,
  quotaCheckedBy: "queue" | "postgres" = "queue",
): Promise<{ queued_at_ms: number; event_seq: number } | null> {
  const room = quotaCheckedBy === "postgres" ? sql`select queue_room(${tenant_id}) as n` : sql`select 1 as n`;
  const [row] = await sql<{ queued_at_ms: number; event_seq: number }[]>`
    with room as (
      ${room}
    ), again as (
      update runs set status = 'queued', wake_at = now(), queued_at = now(), started_at = null, ended_at = null,
        paused_at = null, paused_for = '0',
        error = null, crash_count = 0, cancel_requested_at = null, event_seq = event_seq + 1
      where run_id = ${run_id} and tenant_id = ${tenant_id} and status in ('failed', 'cancelled')
        and event_seq = ${known_seq} and (select n from room) > 0
      returning run_id, event_seq, attempt, floor(extract(epoch from queued_at) * 1000)::float8 as queued_at_ms
    ), written as (
      insert into journal (run_id, seq, events_n, attempt, kind, output, events)
      select run_id, event_seq, 1, attempt, 'rewind', ${output}, ${event} from again
    ), withdrawn as (
      -- What the first life asked and nobody answered is asked anew.
      update waits w set answered_at = now(), answered_by = ${CLOSED_BY.retry} from again a
      where w.run_id = a.run_id and w.kind = 'human' and w.answered_at is null
    ), resolved as (
      update dead_letters d set resolved_at = now() from again a
      where d.run_id = a.run_id and d.resolved_at is null
    )
    select queued_at_ms, event_seq from again`;
  return row ?? null;
}
