import { log } from "../../shared/log.ts";
import { ColdError } from "../../shared/queue/queue.ts";
import type { IndexProgress } from "../../shared/queue/queue.ts";
import { LEASE_MS } from "../lease.ts";
import { pushLimitsAfter } from "./limits.ts";
import { PAGE, jobOf } from "./parts.ts";
import type { RepairParts } from "./parts.ts";

export type Shards = Map<number, IndexProgress>;

/** Rule 2: what each shard knows; shards that know nothing are rebuilt first. */
export async function indexShards(parts: RepairParts): Promise<{ shards: Shards; rebuilt: boolean }> {
  const shards: Shards = new Map();
  let rebuilt = false;
  for (let shard = 0; shard < parts.queue.shards; shard++) {
    try {
      shards.set(shard, await parts.queue.readIndex(shard));
    } catch (error) {
      if (!(error instanceof ColdError)) throw error;
      await rebuild(parts, shard);
      rebuilt = true;
      shards.set(shard, await parts.queue.readIndex(shard));
    }
  }
  return { shards, rebuilt };
}

/** What runs is held for its owner before anything may be claimed, so that no limit is passed meanwhile. */
async function rebuild(parts: RepairParts, shard: number): Promise<void> {
  const { queue, store, repairs } = parts;
  repairs.rebuilt += 1;
  log.warn("reconciler.rebuild_started", { shard });
  await queue.reset(shard);
  let after = { owner: "", run_id: "" };
  for (;;) {
    const page = await store.runningRuns(after, PAGE);
    for (const [owner, runs] of Map.groupBy(page, (run) => run.owner)) {
      await queue.hold(runs.map(jobOf), owner, owner, LEASE_MS);
    }
    const last = page.at(-1);
    if (!last || page.length < PAGE) break;
    after = { owner: last.owner, run_id: last.run_id };
  }
  await pushLimitsAfter(parts, -Infinity);
  await queue.beginIndex(shard);
}
