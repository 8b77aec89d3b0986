import type { Queue } from "../../../shared/queue/queue.ts";

/** What a walk has to reach beyond the first one, until a shard counts. */
export const QUOTA_READY_AFTER_MS = 7_000;

/** Gives a shard that is cold its index; `tell`: what it is told before anything may be claimed. */
export async function rebuild(queue: Queue, shard: number, tell?: (epoch: string) => Promise<void>) {
  const epoch = await queue.reset(shard);
  if (epoch === null) return;
  await tell?.(epoch);
  await queue.beginIndex(shard, epoch);
}

/** Makes a shard complete, and empty if it is cold, as a reconciler does: two walks, the second late enough. */
export async function openIndex(queue: Queue, shard: number, uptoMs: number): Promise<void> {
  await rebuild(queue, shard);
  const known = await queue.readIndex(shard);
  await queue.advanceScan(shard, known, "first", uptoMs - QUOTA_READY_AFTER_MS);
  await queue.advanceScan(shard, { ...known, scanned: "first" }, "second", uptoMs);
}
