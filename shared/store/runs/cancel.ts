import { z } from "zod";
import { RunId, TenantId } from "../../contracts/ids.ts";
import { RunStatus } from "../../contracts/run.ts";
import { toldOfRun, writeDeliveries } from "../webhooks/deliveries.ts";
import { isLocked, lockFamily, relativesOf, tellFamily } from "./family.ts";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";

/** A run that a cancel reaches: the one that was named, or one that it started. */
export const Relative = z.object({ run_id: RunId, tenant_id: TenantId, status: RunStatus });
export type Relative = z.infer<typeof Relative>;

/** A run of a tenant (null: of any) and all its descendants that have not ended; the run itself comes first in any case. */
export async function readFamily(sql: Sql, tenant: TenantId | null, run: RunId): Promise<Relative[]> {
  const rows = await sql`
    with recursive family as (
      select r.run_id, r.tenant_id, r.status, 0 as depth from runs r
      where r.run_id = ${run} and (${tenant}::text is null or r.tenant_id = ${tenant})
      union all
      select c.run_id, c.tenant_id, c.status, f.depth + 1
      from runs c join family f on c.parent_run_id = f.run_id where f.depth < 16
    )
    select run_id, tenant_id, status
    from family where depth = 0 or status not in ('completed', 'failed', 'cancelled')
    order by depth, run_id limit 10000`;
  return rows.map((row) => Relative.parse(row));
}

/** What the last entry of a run without a worker is made from, besides its journal. */
const CancellableRun = z.object({
  run_id: RunId,
  event_seq: z.number(),
  correlation_id: z.string(),
  /** JSON text of RunInput. */
  input: z.string(),
  /** JSON text of the definition that it is pinned to. */
  definition: z.string().nullable(),
});
export type CancellableRun = z.infer<typeof CancellableRun>;

/** Of these runs those that are queued or paused now. */
export async function readCancellableRuns(sql: Sql, runs: readonly RunId[]): Promise<CancellableRun[]> {
  const rows = await sql`
    select r.run_id, r.event_seq, r.correlation_id, r.input, v.definition
    from runs r left join orchestration_versions v
      on v.tenant_id = r.definition_tenant and v.id = r.orchestration_id and v.version = r.definition_version
    where r.run_id = any(${pgArray(runs)}::text[]) and r.status in ('queued', 'paused')`;
  return rows.map((row) => CancellableRun.parse(row));
}

/** The last entry of a run that ends without a worker: it was queued or paused. */
export type CancelEnd = {
  run_id: RunId;
  known_seq: number;
  events: string;
  events_n: number;
  /** JSON text of EndRecord. */
  output: string;
};

export type Cancelled = {
  run_id: RunId;
  status: "running" | "cancelled";
  owner: string | null;
  event_seq: number;
};

/**
 * Cancels, in one statement: what runs is marked (its worker ends it), what is queued or paused ends here and now, with
 * its last entry. A run that has changed since it was read is in neither: read the family and ask again.
 *
 * Relatives that are not named here are told as by any end: the parent has its answer, children are to end too; and so
 * is whoever has a webhook.
 */
export async function cancelRuns(
  sql: Sql,
  running: readonly RunId[],
  ends: readonly CancelEnd[],
): Promise<Cancelled[]> {
  return sql<Cancelled[]>`
    with ends as (
      select * from unnest(
        ${pgArray(ends.map((e) => e.run_id))}::text[], ${pgArray(ends.map((e) => e.known_seq))}::int[],
        ${pgArray(ends.map((e) => e.events_n))}::int[], ${pgArray(ends.map((e) => e.events))}::text[],
        ${pgArray(ends.map((e) => e.output))}::text[]
      ) as e(run_id, known_seq, events_n, events, output)
    ), named as (
      select unnest(${pgArray(running)}::text[]) as run_id
    ), ending as (
      select run_id from ends
    ), ${lockFamily(sql, sql`select run_id from ends union all select run_id from named`)}, ended as (
      update runs r set status = 'cancelled', ended_at = now(), wake_at = null, current_step_id = null,
        cancel_requested_at = coalesce(r.cancel_requested_at, now()), event_seq = r.event_seq + e.events_n
      from ends e
      where r.run_id = e.run_id and r.status in ('queued', 'paused') and r.event_seq = e.known_seq and ${isLocked(sql)}
      returning r.run_id, r.owner, r.event_seq, r.attempt, e.events_n, e.events, e.output, ${toldOfRun(sql)}
    ), marked as (
      -- Locked, so it still runs when it is told.
      select run_id from named join locked using (run_id) where status = 'running'
    ), relatives as (
      select run_id, bool_or(cancel) as cancel
      from (${relativesOf(sql)} union all select run_id, true from marked) k group by run_id
    ), ${tellFamily(sql, sql`ended`)}, written as (
      insert into journal (run_id, seq, events_n, attempt, kind, output, events)
      select run_id, event_seq, events_n, attempt, 'end', output, events from ended
    )${writeDeliveries(sql, sql`ended`)}
    select run_id, status, owner, event_seq from told join marked using (run_id)
    union all
    select run_id, status, owner, event_seq from ended`;
}
