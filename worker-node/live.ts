import type { Cluster, Redis } from "ioredis";
import { xaddArgs } from "../shared/events/live.ts";
import type { LiveEntry } from "../shared/events/live.ts";
import { eventShardOf, keys } from "../shared/keys.ts";

/**
 * Shows committed entries to viewers, in order, in one pipeline. Nobody waits for it and a failure is nothing: viewers
 * whose entry never came are checked against Postgres by their relay.
 */
export function showLive(redis: Redis | Cluster, eventShards: number): (entries: LiveEntry[]) => void {
  return (entries) => {
    const byShard = Map.groupBy(entries, ({ run }) => eventShardOf(run, eventShards));
    for (const [shard, group] of byShard) {
      // One pipeline a shard: in a cluster a pipeline goes to one node.
      const pipeline = redis.pipeline();
      for (const entry of group) pipeline.call("XADD", ...xaddArgs(keys.live(shard), entry));
      pipeline.exec().catch(() => {});
    }
  };
}
