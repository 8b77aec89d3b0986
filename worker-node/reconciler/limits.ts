import { Lane } from "../../shared/contracts/run.ts";
import { withoutMaxima } from "../../shared/store/tenants/tenants.ts";
import type { Shards } from "./rebuild.ts";
import { PAGE } from "./parts.ts";
import type { RepairParts } from "./parts.ts";

/** Tenants that were changed in statements which took long show up late: their time is that of the statement's start. */
const OVERLAP_MS = 15_000;

/** docs/protocol.md 7.5, the limits: those that were changed since these shards heard of any, or that a rollback of Redis undid. */
export async function pushChangedLimits(parts: RepairParts, shards: Shards): Promise<void> {
  const upto = Math.min(...Array.from(shards.values(), ({ limitsUptoMs }) => limitsUptoMs));
  // Asked before the tenants are: what changes meanwhile is met by the next pass.
  const { now_ms } = await parts.store.scanBounds(null);
  await pushLimitsAfter(parts, upto - OVERLAP_MS);
  for (const [shard, { epoch }] of shards) await parts.queue.advanceLimits(shard, epoch, now_ms);
}

/** Pushes the limits of all tenants that were changed after a time. */
export async function pushLimitsAfter(
  { queue, store, repairs, isolation }: RepairParts,
  sinceMs: number,
): Promise<void> {
  let after = { at: Number.isFinite(sinceMs) ? new Date(sinceMs).toISOString() : "-infinity", tenant: "" };
  for (;;) {
    const page = await store.changedLimits(after, PAGE);
    await queue.pushLimits(isolation ? page : page.map(withoutMaxima));
    repairs.limits += page.length;
    const last = page.at(-1);
    if (!last || page.length < PAGE) return;
    after = { at: last.updated_at, tenant: last.tenant };
  }
}

/** docs/protocol.md 7.5, the rings: tenants with ready jobs get back into a ring that was lost, a thousand a pass. */
export class RingScan {
  readonly #parts: RepairParts;
  /** Where each lane of each shard is gone on from. */
  readonly #after = new Map<string, string>();

  constructor(parts: RepairParts) {
    this.#parts = parts;
  }

  async pass(shards: Shards): Promise<void> {
    for (const shard of shards.keys()) {
      for (const lane of Lane.options) {
        const key = `${shard} ${lane}`;
        const after = this.#after.get(key) ?? "";
        this.#after.set(
          key,
          await this.#parts.queue.repairRing({ shard, lane, after, count: PAGE / Lane.options.length }),
        );
      }
    }
  }
}
