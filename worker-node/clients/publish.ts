import type { Cluster, Redis } from "ioredis";
import { xaddArgs } from "../../shared/events/live.ts";
import type { LiveEntry } from "../../shared/events/live.ts";
import { eventShardOf, keys } from "../../shared/keys.ts";
import { inCurrentStoreSpan, untraced } from "../tracing/tracing.ts";
import type { CurrentTracing } from "../tracing/tracing.ts";

/** How many of its 10,000 entries a live stream keeps when Redis is full. They may be large, and Redis may drop nothing else. */
const KEEP_WHEN_FULL = 100;

/**
 * Publishes committed entries to viewers, in order, in one pipeline for each event shard. It returns at once and
 * ignores failures: the relay checks viewers without live entries against Postgres.
 */
export function publishLive(
  redis: Redis | Cluster,
  eventShards: number,
  tracing: CurrentTracing = untraced,
): (entries: LiveEntry[]) => void {
  return (entries) => {
    const byShard = Map.groupBy(entries, ({ run }) => eventShardOf(run, eventShards));
    for (const [shard, group] of byShard) {
      // A pipeline for each shard: in a cluster a pipeline goes to one node.
      const pipeline = redis.pipeline();
      for (const entry of group) pipeline.call("XADD", ...xaddArgs(keys.live(shard), entry));
      const send = () => pipeline.exec();
      const args = group.map(({ run }) => run);
      const sent = inCurrentStoreSpan(tracing, { store: "redis", operation: "XADD", args }, send);
      sent
        .then(async (replies) => {
          const isFull = replies?.some(([error]) => error?.message.startsWith("OOM"));
          if (isFull) await redis.xtrim(keys.live(shard), "MAXLEN", KEEP_WHEN_FULL);
        })
        .catch(() => {});
    }
  };
}
