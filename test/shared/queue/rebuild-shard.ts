import type { Queue } from "../../../shared/queue/queue.ts";
import { QUOTA_READY_AFTER_MS } from "../../../shared/timing.ts";

/** Gives a cold shard its index; `prepare` runs before jobs may be claimed. */
export async function rebuildShard(
  queue: Queue,
  shard: number,
  prepare?: (epoch: string) => Promise<unknown>,
) {
  const epoch = await queue.reset(shard);
  if (epoch === null) return;
  await prepare?.(epoch);
  await queue.beginIndex(shard, epoch);
}

/** Makes a shard quota ready, as a reconciler does: a rebuild if it is cold, and two scans, the second late enough. */
export async function makeQuotaReady(queue: Queue, shard: number, uptoMs: number): Promise<void> {
  await rebuildShard(queue, shard);
  const known = await queue.readIndex(shard);
  await queue.advanceScan(shard, known, "first", uptoMs - QUOTA_READY_AFTER_MS);
  await queue.advanceScan(shard, { ...known, scanned: "first" }, "second", uptoMs);
}
