import type { Queue } from "../../shared/queue/queue.ts";

/** What a walk has to reach beyond the first one, until a shard counts. */
export const SETTLE_MS = 7_000;

/** Makes a shard complete that is empty or cold, as a reconciler does: two walks, the second late enough. */
export async function openIndex(queue: Queue, shard: number, uptoMs: number): Promise<void> {
  await queue.beginIndex(shard);
  const known = await queue.readIndex(shard);
  await queue.advanceWalk(shard, known, "first", uptoMs - SETTLE_MS);
  await queue.advanceWalk(shard, { ...known, walked: "first" }, "second", uptoMs);
}
