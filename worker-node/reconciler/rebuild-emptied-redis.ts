import { log } from "../../shared/log.ts";
import { ColdError } from "../../shared/queue/scripts.ts";
import { restoreRunningLeases, releaseMoved } from "../fleet/restore-leases.ts";
import { pushLimitsAfter } from "./push-limits.ts";
import type { RepairDeps, Shards } from "./reconciler-deps.ts";

/**
 * What happens when Redis is emptied: docs/protocol.md 7.2. Guarantee: when this resolves, every shard has an index; a cold
 * shard is rebuilt from Postgres first.
 */
export async function indexShards(deps: RepairDeps): Promise<{ shards: Shards; rebuilt: boolean }> {
  const shards: Shards = new Map();
  let rebuilt = false;
  for (let shard = 0; shard < deps.queue.shards; shard++) {
    try {
      shards.set(shard, await deps.queue.readIndex(shard));
    } catch (error) {
      if (!(error instanceof ColdError)) throw error;
      await rebuildShard(deps, shard);
      rebuilt = true;
      shards.set(shard, await deps.queue.readIndex(shard));
    }
  }
  return { shards, rebuilt };
}

/**
 * Gives a cold shard its index again. The leases of running runs are restored before anything may be claimed, so that no
 * tenant's limit is passed meanwhile.
 *
 * Two reconcilers may rebuild a shard at once, when one pauses for longer than its lock. The epoch of the latest `reset()`
 * wins: the other reconciler gets ColdError, and its next pass reads the index again. Its limit pushes are versioned and therefore
 * harmless.
 */
async function rebuildShard(deps: RepairDeps, shard: number): Promise<void> {
  const { queue, repairs } = deps;
  const epoch = await queue.reset(shard);
  if (epoch === null) return;
  repairs.rebuilt += 1;
  log.warn("reconciler.rebuild_started", { shard });
  await pushLimitsAfter(deps, -Infinity);
  // From here on no worker claims directly, so the queue needs the leases of the runs that are running now and no others.
  await deps.announceQueue();
  const restored = await restoreRunningLeases(deps, shard, epoch);
  await queue.beginIndex(shard, epoch);
  // While the shard was cold, it refused every `finish` and `release`.
  await releaseMoved(deps, restored);
}
