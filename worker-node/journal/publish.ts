import type { Cluster, Redis } from "ioredis";
import { xaddArgs } from "../../shared/events/live.ts";
import type { LiveEntry } from "../../shared/events/live.ts";
import { eventShardOf, keys } from "../../shared/keys.ts";

/** What a stream keeps of its 10,000 entries when Redis is full: they may be large, and are the only thing to spare. */
const KEEP_WHEN_FULL = 100;

/**
 * Shows committed entries to viewers, in order, in one pipeline. Nobody waits for it and a failure is nothing: viewers
 * whose entry never came are checked against Postgres by their relay.
 */
export function publishLive(redis: Redis | Cluster, eventShards: number): (entries: LiveEntry[]) => void {
  return (entries) => {
    const byShard = Map.groupBy(entries, ({ run }) => eventShardOf(run, eventShards));
    for (const [shard, group] of byShard) {
      // One pipeline a shard: in a cluster a pipeline goes to one node.
      const pipeline = redis.pipeline();
      for (const entry of group) pipeline.call("XADD", ...xaddArgs(keys.live(shard), entry));
      pipeline
        .exec()
        .then(async (replies) => {
          const isFull = replies?.some(([error]) => error?.message.startsWith("OOM"));
          if (isFull) await redis.xtrim(keys.live(shard), "MAXLEN", KEEP_WHEN_FULL);
        })
        .catch(() => {});
    }
  };
}
