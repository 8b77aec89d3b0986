import type { TenantId } from "../contracts/ids.ts";
import { keys, queueShardOf } from "../keys.ts";
import { runScript } from "./run-script.ts";
import type { RedisCommands, Script } from "./run-script.ts";

/** The shard's Redis has no index: it is new, was emptied, or lost a key. The reconciler has to rebuild it. */
export class ColdError extends Error {
  readonly shard: number;

  constructor(shard: number) {
    super(`queue shard ${shard} is cold`);
    this.name = "ColdError";
    this.shard = shard;
  }
}

/** Runs scripts on the shards of one Redis. A script touches the keys of one shard. */
export class ShardScripts {
  readonly #redis: RedisCommands;
  readonly shards: number;

  constructor(redis: RedisCommands, shards: number) {
    this.#redis = redis;
    this.shards = shards;
  }

  /** @throws ColdError when the shard is cold */
  async run(shard: number, script: Script, args: readonly string[]): Promise<unknown> {
    const reply = await this.runOrCold(shard, script, args);
    if (reply === "cold") throw new ColdError(shard);
    return reply;
  }

  /** @returns "cold" when the shard is cold */
  async runOrCold(shard: number, script: Script, args: readonly string[]): Promise<unknown> {
    return await runScript(this.#redis, script, [keys.ready(shard)], [...args, String(this.shards)]);
  }

  /**
   * Runs a script once on each shard of the items, all at the same time.
   * @param head the script's first arguments
   * @returns the replies, one for each shard
   */
  async runPerShard<Item extends { tenant: TenantId }>(
    items: readonly Item[],
    script: Script,
    head: readonly string[],
    argsOf: (item: Item) => string[],
  ): Promise<unknown[]> {
    const byShard = Map.groupBy(items, (item) => queueShardOf(item.tenant, this.shards));
    return Promise.all(
      Array.from(byShard, ([shard, group]) => this.run(shard, script, [...head, ...group.flatMap(argsOf)])),
    );
  }
}
