import { z } from "zod";
import type { ChatReply } from "../../contracts/chat.ts";
import { RunId, SessionId, TenantId } from "../../contracts/ids.ts";
import { RunStatus } from "../../contracts/run.ts";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";
import { deliverySnapshot, insertDeliveries } from "../webhooks/insert-deliveries.ts";
import { insertReplies } from "../chat/messages.ts";
import { afterLocks, endedRelatives, lockFamily, notifiedBy, notifyFamily } from "./family.ts";
import type { SignalledRun } from "./family.ts";

/** A run that a cancel reaches: the run that the client named, or one of its descendants. */
export const FamilyMember = z.object({
  run_id: RunId,
  tenant_id: TenantId,
  status: RunStatus,
  /** The bytes of its input and its journal, from which its last entry is made. */
  bytes: z.number(),
  /** The session that it is a turn of. */
  chat_session: SessionId.nullable(),
});
export type FamilyMember = z.infer<typeof FamilyMember>;

/**
 * A run of a tenant, and its descendants that have not ended: to a depth of 16, and 10,000 runs at most. The run itself
 * comes first, also when it has ended. Empty when that tenant has no such run.
 * @param tenant null: any tenant, for a platform key
 */
export async function readFamily(sql: Sql, tenant: TenantId | null, run: RunId): Promise<FamilyMember[]> {
  const rows = await sql`
    with recursive family as (
      select r.run_id, r.tenant_id, r.status, 0 as depth, r.journal_bytes + octet_length(r.input) as bytes, r.chat_session
      from runs r
      where r.run_id = ${run} and (${tenant}::text is null or r.tenant_id = ${tenant})
      union all
      select c.run_id, c.tenant_id, c.status, f.depth + 1, c.journal_bytes + octet_length(c.input), c.chat_session
      from runs c join family f on c.parent_run_id = f.run_id where f.depth < 16
    )
    select run_id, tenant_id, status, bytes::float8 as bytes, chat_session
    from family where depth = 0 or status not in ('completed', 'failed', 'cancelled')
    order by depth, run_id limit 10000`;
  return rows.map((row) => FamilyMember.parse(row));
}

/** A queued or paused run: what its last entry is made from, besides its journal. */
const CancellableRun = z.object({
  run_id: RunId,
  event_seq: z.number(),
  correlation_id: z.string(),
  /** JSON text of RunInput. */
  input: z.string(),
  /** JSON text of the `state_schema` of the definition that it is pinned to. */
  state_schema: z.string().nullable(),
  chat_session: SessionId.nullable(),
});
export type CancellableRun = z.infer<typeof CancellableRun>;

/** Those of `runs` that are queued or paused now. */
export async function readCancellableRuns(sql: Sql, runs: readonly RunId[]): Promise<CancellableRun[]> {
  const rows = await sql`
    select r.run_id, r.event_seq, r.correlation_id, r.input, r.chat_session, (v.definition::json -> 'state_schema')::text as state_schema
    from runs r left join orchestration_versions v
      on v.tenant_id = r.definition_tenant and v.id = r.orchestration_id and v.version = r.definition_version
    where r.run_id = any(${pgArray(runs)}::text[]) and r.status in ('queued', 'paused')`;
  return rows.map((row) => CancellableRun.parse(row));
}

/** The last entry of a run that ends without a worker, because it was queued or paused. */
export type CancelEnd = {
  run_id: RunId;
  /** The run's `event_seq` when it was read. */
  known_seq: number;
  /** Event lines, one JSON a line. */
  events: string;
  events_n: number;
  /** JSON text of EndRecord. */
  output: string;
  /** Of a chat turn: the part of its answer that has come. */
  reply?: ChatReply | null;
};

/** The status of a run after the statement: `cancelled`; `running`: its owner will end it; `queued`: the worker that claims it will. */
export type CancelledRun = {
  run_id: RunId;
  status: "running" | "queued" | "cancelled";
  owner: string | null;
  event_seq: number;
  /** The relatives that its end has made due, or that run now. */
  notified: SignalledRun[] | null;
};

/**
 * Cancels runs in one statement (docs/protocol.md 5.7): running ones are marked, and their worker ends them; queued and
 * paused ones end in this statement, with their last entry and its delivery. A run that has changed since it was read is
 * missing from the result: the caller reads the family and cancels again.
 *
 * Relatives that the caller does not name are notified as by any end: the parent's wait is answered, and open children
 * are marked.
 * @param running runs that were running when they were read
 * @param large queued and paused runs that a worker is to end, because their last entry would be large: they become due
 */
export async function cancelRuns(
  sql: Sql,
  running: readonly RunId[],
  ends: readonly CancelEnd[],
  large: readonly RunId[] = [],
): Promise<CancelledRun[]> {
  return sql<CancelledRun[]>`
    with ends as (
      select * from unnest(
        ${pgArray(ends.map((e) => e.run_id))}::text[], ${pgArray(ends.map((e) => e.known_seq))}::int[],
        ${pgArray(ends.map((e) => e.events_n))}::int[], ${pgArray(ends.map((e) => e.events))}::text[],
        ${pgArray(ends.map((e) => e.output))}::text[]
      ) as e(run_id, known_seq, events_n, events, output)
    ), to_mark as (
      select unnest(${pgArray(running)}::text[]) as run_id, true as runs
      union all
      select unnest(${pgArray(large)}::text[]), false
    ), ending as (
      select run_id from ends
    ), ${lockFamily(sql, sql`select run_id from ends union all select run_id from to_mark`)}, ended as (
      update runs r set status = 'cancelled', ended_at = now(), wake_at = null, current_step_id = null,
        cancel_requested_at = coalesce(r.cancel_requested_at, now()), event_seq = r.event_seq + e.events_n,
        journal_bytes = r.journal_bytes + octet_length(e.events) + octet_length(e.output)
      from ends e
      where r.run_id = e.run_id and r.status in ('queued', 'paused') and r.event_seq = e.known_seq and ${afterLocks(sql)}
      returning r.run_id, r.owner, r.event_seq, r.attempt, e.events_n, e.events, e.output, ${deliverySnapshot(sql)}
    ), marked as (
      -- The lock keeps their status until they are notified.
      select run_id from to_mark join locked using (run_id)
      where status = 'running' and runs or status in ('queued', 'paused') and not runs
    ), relatives as (
      select run_id, bool_or(cancel) as cancel
      from (${endedRelatives(sql)} union all select run_id, true from marked) k group by run_id
    ), ${notifyFamily(sql, sql`ended`)}, written as (
      insert into journal (run_id, seq, events_n, attempt, kind, output, events)
      select run_id, event_seq, events_n, attempt, 'end', output, events from ended
    )${insertReplies(sql, sql`ended`, repliesOf(ends))}${insertDeliveries(sql, sql`ended`)}
    select run_id, status, owner, event_seq, null as notified from notified join marked using (run_id)
    union all
    select run_id, status, owner, event_seq, ${notifiedBy(sql)} from ended m`;
}

function repliesOf(ends: readonly CancelEnd[]) {
  return ends.flatMap(({ run_id, reply }) => (reply ? [{ run_id, ...reply }] : []));
}
