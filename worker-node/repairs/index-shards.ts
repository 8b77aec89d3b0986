import { queueShardOf } from "../../shared/keys.ts";
import { log } from "../../shared/log.ts";
import { ColdError } from "../../shared/queue/queue.ts";
import type { IndexProgress, Queue } from "../../shared/queue/queue.ts";
import type { StateStore } from "../../shared/store/state.ts";
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

/** A lease for somebody who is not heard of: it keeps the slot counted, and the next claimer takes it over. */
const SILENT_LEASE_MS = 1_000;

/** What runs is held for its owner before anything may be claimed, so that no limit is passed meanwhile. */
async function rebuild(parts: RepairParts, shard: number): Promise<void> {
  const { queue, store, repairs } = parts;
  repairs.rebuilt += 1;
  log.warn("reconciler.rebuild_started", { shard });
  await queue.reset(shard);
  await pushLimitsAfter(parts, -Infinity);
  // From here on nobody claims without it: what runs now is all that it has to know.
  await parts.announceQueue();
  await holdRunning(store, queue, shard);
  await queue.beginIndex(shard);
}

/** Tells a shard that has been away, or is new, of all that runs: a slot of each tenant for each of its runs. */
export async function holdRunning(store: StateStore, queue: Queue, shard: number): Promise<void> {
  let after = { owner: "", run_id: "" };
  for (;;) {
    const page = await store.runningRuns(after, PAGE);
    const here = page.filter((run) => queueShardOf(run.tenant_id, queue.shards) === shard);
    for (const [owner, runs] of Map.groupBy(here, (run) => run.owner)) {
      const leaseMs = runs[0]?.owner_silent ? SILENT_LEASE_MS : LEASE_MS;
      await queue.hold(runs.map(jobOf), owner, owner, leaseMs);
    }
    const last = page.at(-1);
    if (!last || page.length < PAGE) return;
    after = { owner: last.owner, run_id: last.run_id };
  }
}
