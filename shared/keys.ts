import { shardOf } from "./contracts/ids.ts";
import type { RunId, TenantId } from "./contracts/ids.ts";

/**
 * Every Redis key that exists: nothing is written under a name that is not made here.
 *
 * | Key | Type | Owner | Life |
 * |---|---|---|---|
 * | `synapse:orchestrations:<shard>` | zset of ready runs | queue scripts | as long as runs are ready |
 * | `{synapse:orchestrations:<shard>}:*` | the shard's other structures, named in queue/common.lua | queue scripts | until rebuilt |
 * | `{e<i>}:live` | stream of committed entries | workers, edge → relay | MAXLEN ~ 10 000 |
 * | `ctl:<incarnation>` | channel of cancel hints | edge → worker | a message is heard or lost |
 */
export const keys = {
  /** The ready runs of a queue shard; for shard 0 the literal name that scalers know. Its name is the shard's hash tag. */
  ready: (shard: number) => `synapse:orchestrations:${shard === 0 ? "default" : shard}`,
  /** The marker on which idle workers block. */
  wake: (shard: number, lane: string) => `{${keys.ready(shard)}}:wake:${lane}`,
  live: (eventShard: number) => `{e${eventShard}}:live`,
  control: (incarnation: string) => `ctl:${incarnation}`,
};

/** How many shards there are unless the environment says otherwise: the same for all who speak to one Redis. */
export const DEFAULT_SHARDS = { queue: 1, event: 1 };

/** The shard on which all jobs of a tenant are: so that one script sees all that its limits count. */
export function queueShardOf(tenant: TenantId, shards: number): number {
  return shardOf(tenant, shards);
}

/** The shard whose live stream carries a run's events, and the relay object that serves its viewers. */
export function eventShardOf(run: RunId, shards: number): number {
  return shardOf(run, shards);
}
