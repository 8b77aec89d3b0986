import { z } from "zod";
import { RunId, TenantId } from "../../contracts/ids.ts";
import { Lane } from "../../contracts/run.ts";
import { SILENT_AFTER_MS } from "../../timing.ts";
import type { Sql } from "../sql.ts";

/** A running run, as `restoreLeases` takes it. */
export const RunningRun = z.object({
  run_id: RunId,
  tenant_id: TenantId,
  lane: Lane,
  priority: z.number(),
  queued_at_ms: z.number(),
  owner: z.string(),
  /** Its owner is silent: any worker may claim it now. */
  owner_silent: z.boolean(),
  /** The time until its owner is silent, if the owner does not beat. An edge of an earlier version does not send it. */
  silent_in_ms: z.number().default(SILENT_AFTER_MS),
});
export type RunningRun = z.infer<typeof RunningRun>;

/** A position in the list of running runs, which is ordered by owner and run. Two empty strings: the start. */
export const RunningRunPosition = z.object({ owner: z.string(), run_id: z.string() });
export type RunningRunPosition = z.infer<typeof RunningRunPosition>;

/**
 * A page of all running runs, ordered by owner. A rebuild restores their leases before claims open, so that no limit is
 * exceeded.
 */
export async function listRunningRuns(
  sql: Sql,
  after: RunningRunPosition,
  limit: number,
): Promise<RunningRun[]> {
  return sql<RunningRun[]>`
    select r.run_id, r.tenant_id, r.lane, r.priority, r.owner,
      floor(extract(epoch from r.queued_at) * 1000)::float8 as queued_at_ms,
      coalesce(silent_at(w) < now(), true) as owner_silent,
      coalesce(extract(epoch from silent_at(w) - now())::float8 * 1000, 0) as silent_in_ms
    from runs r left join workers w on w.incarnation = r.owner
    where r.status = 'running' and (r.owner, r.run_id) > (${after.owner}, ${after.run_id})
    order by r.owner, r.run_id limit ${limit}`;
}

/**
 * All owners of running runs, with their last beat as text (null: the worker has no row). The list is as long as the
 * fleet.
 */
export async function listOwners(sql: Sql): Promise<{ owner: string; beat_at: string | null }[]> {
  return sql<{ owner: string; beat_at: string | null }[]>`
    select o.owner, w.beat_at::text as beat_at
    from (select distinct owner from runs where status = 'running') o
    left join workers w on w.incarnation = o.owner`;
}
