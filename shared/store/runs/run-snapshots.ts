import { z } from "zod";
import { RunId, TenantId } from "../../contracts/ids.ts";
import { Lane, RunStatus } from "../../contracts/run.ts";
import { SILENT_AFTER_MS } from "../../timing.ts";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";

/** A run as it is now, for a worker that did not get it in a claim or whose lease is unresolved. */
export const RunSnapshot = z.object({
  run_id: RunId,
  tenant_id: TenantId,
  status: RunStatus,
  lane: Lane,
  priority: z.number(),
  queued_at_ms: z.number(),
  owner: z.string().nullable(),
  owner_silent: z.boolean(),
  /** The time until its owner is silent, if the owner does not beat. An edge of an earlier version does not send it. */
  silent_in_ms: z.number().default(SILENT_AFTER_MS),
  attempt: z.number(),
  signals: z.number(),
  cancel: z.boolean(),
  /** Time to its wake-up: negative when that has passed. */
  due_in_ms: z.number(),
});
export type RunSnapshot = z.infer<typeof RunSnapshot>;

/** Reads runs as they are now. Runs that do not exist are missing from the result. */
export async function readRunSnapshots(sql: Sql, runs: readonly RunId[]): Promise<RunSnapshot[]> {
  return sql<RunSnapshot[]>`
    select r.run_id, r.tenant_id, r.status, r.lane, r.priority, r.owner, r.attempt, r.signals,
      floor(extract(epoch from r.queued_at) * 1000)::float8 as queued_at_ms,
      r.cancel_requested_at is not null as cancel,
      coalesce(extract(epoch from r.wake_at - now())::float8 * 1000, 0) as due_in_ms,
      r.owner is not null and coalesce(silent_at(w) < now(), true) as owner_silent,
      coalesce(extract(epoch from silent_at(w) - now())::float8 * 1000, 0) as silent_in_ms
    from runs r left join workers w on w.incarnation = r.owner
    where r.run_id = any(${pgArray(runs)}::text[])`;
}
