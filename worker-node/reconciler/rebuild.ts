import { log } from "../../shared/log.ts";
import { ColdError } from "../../shared/queue/shard-scripts.ts";
import type { IndexProgress } from "../../shared/queue/index-progress.ts";
import { restoreRunningLeases, releaseMoved } from "./restore-leases.ts";
import { pushLimitsAfter } from "./limits.ts";
import type { RepairParts } from "./parts.ts";

export type Shards = Map<number, IndexProgress>;

/** docs/protocol.md 7.2: what each shard knows; shards that know nothing are rebuilt first. */
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

/**
 * What runs is held for its owner before anything may be claimed, so that no limit is passed meanwhile. Another may do
 * the same, as this process stood still for longer than its lock: whose reset was the last goes on. The other is told that
 * the shard is cold, and nothing of his comes in any more but limits, which have versions; his next pass sees what is there.
 */
async function rebuild(parts: RepairParts, shard: number): Promise<void> {
  const { queue, repairs } = parts;
  const epoch = await queue.reset(shard);
  if (epoch === null) return;
  repairs.rebuilt += 1;
  log.warn("reconciler.rebuild_started", { shard });
  await pushLimitsAfter(parts, -Infinity);
  // From here on nobody claims without it: what runs now is all that it has to know.
  await parts.announceQueue();
  const holds = await restoreRunningLeases(parts, shard, epoch);
  await queue.beginIndex(shard, epoch);
  // Before it knew anything, a worker's word that a run has ended was not taken.
  await releaseMoved(parts, holds);
}
