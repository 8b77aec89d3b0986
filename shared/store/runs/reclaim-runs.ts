import { z } from "zod";
import { RunId } from "../../contracts/ids.ts";
import { MAX_BACKOFF_MS } from "../../contracts/lane-settings.ts";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";
import type { DueRun } from "./due-runs.ts";

/**
 * Reclaims the runs of an owner whose beat is still the observed one (docs/protocol.md 7.3): they are queued again, and
 * their crash counts. At most 1,000 a call.
 * @param observedBeat the owner's last beat as text; null: the owner had no row
 */
export async function reclaimFromSilent(
  sql: Sql,
  owner: string,
  observedBeat: string | null,
): Promise<DueRun[]> {
  return sql<DueRun[]>`
    with abandoned as (
      select run_id from runs
      where owner = ${owner} and status = 'running' and not exists (
        select from workers w where w.incarnation = ${owner}
          and w.beat_at is distinct from ${observedBeat}::text::timestamptz)
      limit 1000 for update skip locked
    )
    update runs r set status = 'queued', owner = null, wake_at = now() + ${backoff(sql)}, crash_count = crash_count + 1
    from abandoned a where r.run_id = a.run_id and r.owner = ${owner}
    returning r.run_id, r.tenant_id, r.lane, r.priority, r.status, r.wake_at::text as wake_at,
      floor(extract(epoch from r.queued_at) * 1000)::float8 as queued_at_ms, 0::float8 as late_ms`;
}

/**
 * A running run whose deadline has passed: its worker beats and commits no entry. With the values that must not change
 * before it is reclaimed.
 */
export const OverdueRun = z.object({
  run_id: RunId,
  attempt: z.number(),
  event_seq: z.number(),
  deadline_at: z.string(),
});
export type OverdueRun = z.infer<typeof OverdueRun>;

/** Running runs whose deadline has passed, at most 1,000. */
export async function listOverdueRuns(sql: Sql): Promise<OverdueRun[]> {
  return sql<OverdueRun[]>`
    select run_id, attempt, event_seq, deadline_at::text as deadline_at
    from runs where status = 'running' and deadline_at < now() limit 1000`;
}

/** Reclaims overdue runs that have not changed since they were observed (docs/protocol.md 7.4). */
export async function reclaimOverdue(sql: Sql, observed: readonly OverdueRun[]): Promise<DueRun[]> {
  return sql<DueRun[]>`
    update runs r set status = 'queued', owner = null, wake_at = now() + ${backoff(sql)}, crash_count = crash_count + 1
    from unnest(
      ${pgArray(observed.map((o) => o.run_id))}::text[], ${pgArray(observed.map((o) => o.attempt))}::int[],
      ${pgArray(observed.map((o) => o.event_seq))}::int[], ${pgArray(observed.map((o) => o.deadline_at))}::timestamptz[]
    ) as o(run_id, attempt, event_seq, deadline_at)
    where r.run_id = o.run_id and r.status = 'running' and r.attempt = o.attempt and r.event_seq = o.event_seq
      and r.deadline_at = o.deadline_at
    returning r.run_id, r.tenant_id, r.lane, r.priority, r.status, r.wake_at::text as wake_at,
      floor(extract(epoch from r.queued_at) * 1000)::float8 as queued_at_ms, 0::float8 as late_ms`;
}

/** How long a reclaimed run waits before its next try: as its lane says, like `backoffOf`. No lane of runs has a backoff by default. */
function backoff(sql: Sql) {
  return sql`coalesce((
      select least(${MAX_BACKOFF_MS}, (l.settings->>'first_backoff_seconds')::float8 * 1000 * 2 ^ least(r.crash_count, 20))
      from lanes l where l.lane = r.lane), 0) * interval '1 millisecond'`;
}
