import { digestOf } from "../text/bytes.ts";
import type { TenantId } from "../contracts/ids.ts";
import { keys, queueShardOf } from "../keys.ts";
import admit from "./admit.lua" with { type: "text" };
import claim from "./claim.lua" with { type: "text" };
import common from "./common.lua" with { type: "text" };
import enqueue from "./enqueue.lua" with { type: "text" };
import finish from "./finish.lua" with { type: "text" };
import giveBack from "./give-back.lua" with { type: "text" };
import index from "./index.lua" with { type: "text" };
import list from "./list.lua" with { type: "text" };
import pushLimits from "./push-limits.lua" with { type: "text" };
import release from "./release.lua" with { type: "text" };
import renew from "./renew.lua" with { type: "text" };
import repairRing from "./repair-ring.lua" with { type: "text" };
import reset from "./reset.lua" with { type: "text" };
import restoreLeases from "./restore-leases.lua" with { type: "text" };
import stats from "./stats.lua" with { type: "text" };

/**
 * The two commands that run scripts. The queue needs nothing else of a Redis client, so the edge's REST client and the
 * workers' TCP client both serve it.
 */
export type RedisCommands = {
  /** `verb`: the name of the script in spans. */
  evalsha(sha: string, keys: string[], args: string[], verb: string): Promise<unknown>;
  eval(script: string, keys: string[], args: string[], verb: string): Promise<unknown>;
};

/** A Lua script with its SHA-1 in hex, by which Redis knows it. `verb` names it in spans. */
export type Script = { verb: string; source: string; sha: Promise<string> };

/**
 * One script for each verb of the queue: common.lua followed by the verb's file. A full Redis must refuse new runs (`admit`)
 * and still serve those that exist: `renew` and `finish` keep or shrink its size, and a committed run that could not be
 * enqueued would wait for as long as Redis is full.
 */
export const scripts = {
  admit: defineScript("admit", admit, { whenFull: false }),
  enqueue: defineScript("enqueue", enqueue),
  claim: defineScript("claim", claim),
  renew: defineScript("renew", renew),
  restoreLeases: defineScript("restoreLeases", restoreLeases),
  release: defineScript("release", release),
  finish: defineScript("finish", finish),
  giveBack: defineScript("giveBack", giveBack),
  pushLimits: defineScript("pushLimits", pushLimits),
  stats: defineScript("stats", stats),
  repairRing: defineScript("repairRing", repairRing),
  list: defineScript("list", list),
  reset: defineScript("reset", reset),
  index: defineScript("index", index),
};

function defineScript(verb: string, text: string, { whenFull } = { whenFull: true }): Script {
  return scriptOf(verb, `#!lua${whenFull ? " flags=allow-oom" : ""}\n${common}\n${text}`);
}

/** @param verb the name of the script in spans */
export function scriptOf(verb: string, source: string): Script {
  return { verb, source, sha: digestOf("SHA-1", source) };
}

/** Whether this Redis has not seen the script yet: then its text is sent, and nothing has failed. */
export function isUnknownScript(error: unknown): boolean {
  return error instanceof Error && error.message.includes("NOSCRIPT");
}

/** Runs a script by its digest, or by its text when this Redis does not know it yet. */
export async function runScript(
  redis: RedisCommands,
  script: Script,
  ofScript: string[],
  args: string[],
): Promise<unknown> {
  try {
    return await redis.evalsha(await script.sha, ofScript, args, script.verb);
  } catch (error) {
    if (!isUnknownScript(error)) throw error;
    return await redis.eval(script.source, ofScript, args, script.verb);
  }
}

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
    return runScript(this.#redis, script, [keys.ready(shard)], [...args, String(this.shards)]);
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
