import { Lane } from "../../shared/contracts/run.ts";
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

/** Pushes the limits of all tenants that were changed after `sinceMs`, in milliseconds of Postgres; minus infinity: the limits of all tenants. */
export async function pushLimitsAfter(
  { queue, store, repairs, isolation }: RepairDeps,
  sinceMs: number,
): Promise<void> {
  let after = { at: Number.isFinite(sinceMs) ? new Date(sinceMs).toISOString() : "-infinity", tenant: "" };
  for (;;) {
    const page = await store.listChangedLimits(after, PAGE);
    await queue.pushLimits(isolation ? page : page.map(withoutMaxima));
    repairs.limits += page.length;
    const last = page.at(-1);
    if (!last || page.length < PAGE) return;
    after = { at: last.updated_at, tenant: last.tenant };
  }
}

/**
 * docs/protocol.md 7.5, rings. Guarantee: a tenant with ready jobs that is missing from its ring gets back into it. About
 * a thousand tenants per shard and pass.
 */
export class RingScan {
  readonly #deps: RepairDeps;
  /** The last tenant of the page before, by shard and lane. */
  readonly #after = new Map<string, string>();

  constructor(deps: RepairDeps) {
    this.#deps = deps;
  }

  async pass(shards: Shards): Promise<void> {
    const count = PAGE / Lane.options.length;
    for (const shard of shards.keys()) {
      for (const lane of Lane.options) {
        const key = `${shard} ${lane}`;
        const after = this.#after.get(key) ?? "";
        this.#after.set(key, await this.#deps.queue.repairRing({ shard, lane, after, count }));
      }
    }
  }
}
