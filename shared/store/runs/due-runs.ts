import { z } from "zod";
import { RunId, TenantId } from "../../contracts/ids.ts";
import { Lane } from "../../contracts/run.ts";
import { SCAN_DELAY_MS, SCAN_OVERLAP_MS } from "../../timing.ts";
import type { Sql } from "../sql.ts";

/**
 * A position in the due index: a Postgres time as text (`-infinity` is one) and a run id. With both of them pages
 * neither skip nor repeat a run.
 */
export const ScanPosition = z.object({ at: z.string(), run_id: z.string() });
export type ScanPosition = z.infer<typeof ScanPosition>;

/** A queued or paused run that is due, or will be, as `enqueue` takes it. */
export const DueRun = z.object({
  run_id: RunId,
  tenant_id: TenantId,
  lane: Lane,
  priority: z.number(),
  queued_at_ms: z.number(),
  status: z.enum(["queued", "paused"]),
  wake_at: z.string(),
  /** Time since its wake-up; negative: until then. */
  late_ms: z.number(),
});
export type DueRun = z.infer<typeof DueRun>;

/** `from`, `until` and `server` are Postgres times as text; `until_ms` and `now_ms` are milliseconds since 1970. */
export const ScanBounds = z.object({
  from: z.string(),
  until: z.string(),
  until_ms: z.number(),
  now_ms: z.number(),
  server: z.string(),
});
export type ScanBounds = z.infer<typeof ScanBounds>;

/**
 * The bounds of a scan of the due index (docs/protocol.md 7.1).
 *
 * - It begins SCAN_OVERLAP_MS (15 s) before the time up to which this Redis knows the due runs (`uptoMs`; null: it knows none), so that
 *   it meets rows that were committed late or out of order. `uptoMs` is limited to now, because a clock that was set
 *   back leaves it in the future.
 * - It ends SCAN_DELAY_MS (2 s) ago, so that runs which the edge enqueues itself right after their commit are not enqueued twice.
 *
 * `server` is the time at which this Postgres started. Another time means another server: it may be a standby that
 * took over without the last seconds.
 */
export async function readScanBounds(sql: Sql, uptoMs: number | null): Promise<ScanBounds> {
  const [row] = await sql<ScanBounds[]>`
    select
      coalesce((upto - greatest(upto - now(), interval '0') - ${SCAN_OVERLAP_MS} * interval '1 millisecond')::text,
        '-infinity') as from,
      (now() - ${SCAN_DELAY_MS} * interval '1 millisecond')::text as until,
      extract(epoch from now() - ${SCAN_DELAY_MS} * interval '1 millisecond')::float8 * 1000 as until_ms,
      extract(epoch from now())::float8 * 1000 as now_ms,
      pg_postmaster_start_time()::text as server
    from (select to_timestamp(${uptoMs}::float8 / 1000) as upto) s`;
  if (!row) throw new Error("a select without from returned no row");
  return row;
}

/**
 * A page of the queued and paused runs after a position of the due index and up to a time; `infinity`: all of them, also those that are
 * due later. A page leaves none out, so its cost is that of its rows, however many runs are paused.
 */
export async function listDueRuns(
  sql: Sql,
  after: ScanPosition,
  until: string,
  limit: number,
): Promise<DueRun[]> {
  return sql<DueRun[]>`
    select run_id, tenant_id, lane, priority, status, wake_at::text as wake_at,
      floor(extract(epoch from queued_at) * 1000)::float8 as queued_at_ms,
      extract(epoch from now() - wake_at)::float8 * 1000 as late_ms
    from runs r
    where status in ('queued', 'paused') and (wake_at, run_id) > (${after.at}::text::timestamptz, ${after.run_id})
      and wake_at <= ${until}::text::timestamptz
    -- Ordered by the column r.wake_at. A bare wake_at is the text of the select list, and all due runs would be sorted.
    order by r.wake_at, r.run_id limit ${limit}`;
}
