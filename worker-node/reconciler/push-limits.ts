import type { LimitsPosition } from "../../shared/store/tenants/tenant-limits.ts";
import { withoutMaxima } from "../../shared/store/tenants/tenant-limits.ts";
import { SCAN_OVERLAP_MS } from "../../shared/timing.ts";
import { PAGE } from "./reconciler-deps.ts";
import type { RepairDeps, Shards } from "./reconciler-deps.ts";

/**
 * docs/protocol.md 7.5, limits. Guarantee: a changed limit acts within a pass, also after a rollback of Redis. Pushes the
 * limits of tenants that were changed since these shards were last brought up to date.
 */
export async function pushChangedLimits(deps: RepairDeps, shards: Shards): Promise<void> {
  const upto = Math.min(...Array.from(shards.values(), ({ limitsUptoMs }) => limitsUptoMs));
  // The time is read before the tenants: the next pass finds limits that change in between.
  const { now_ms } = await deps.store.readScanBounds(null);
  // `updated_at` is the start of a statement: a change by a slow one becomes visible later than its time.
  await pushLimitsAfter(deps, upto - SCAN_OVERLAP_MS);
  for (const [shard, { epoch }] of shards) await deps.queue.advanceLimits(shard, epoch, now_ms);
}

/**
 * Pushes the limits of all tenants that were changed after `sinceMs`, in milliseconds of Postgres; minus infinity: the limits of all
 * tenants.
 */
export async function pushLimitsAfter(deps: RepairDeps, sinceMs: number): Promise<void> {
  const at = Number.isFinite(sinceMs) ? new Date(sinceMs).toISOString() : FIRST_LIMITS.at;
  let after: LimitsPosition | null = { ...FIRST_LIMITS, at };
  while (after) after = await pushLimitsPage(deps, after);
}

/** The position before all tenants. */
export const FIRST_LIMITS: LimitsPosition = { at: "-infinity", tenant: "" };

/**
 * Pushes a page of limits. The queue may have limits of a higher version than Postgres, from a time that Postgres has lost. Then the
 * version of that tenant in Postgres is raised above them, and the next pass pushes it.
 * @returns where the next page begins; null when there is none
 */
export async function pushLimitsPage(
  { queue, store, repairs, isolation }: RepairDeps,
  after: LimitsPosition,
): Promise<LimitsPosition | null> {
  const page = await store.listChangedLimits(after, PAGE);
  const newer = await queue.pushLimits(isolation ? page : page.map(withoutMaxima));
  if (newer.length > 0) await store.raiseLimitVersions(newer);
  repairs.limits += page.length;
  const last = page.at(-1);
  return last && page.length === PAGE ? { at: last.updated_at, tenant: last.tenant } : null;
}
