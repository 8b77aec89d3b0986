import { Lane } from "../../shared/contracts/run.ts";
import { PAGE } from "./reconciler-deps.ts";
import type { RepairDeps, Shards } from "./reconciler-deps.ts";

/**
 * docs/protocol.md 7.5, rings. Guarantee: a tenant with ready jobs that is missing from its ring gets back into it. Looks at
 * about a thousand tenants per shard in each pass.
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
