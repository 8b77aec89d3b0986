import { createHash } from "node:crypto";
import type { Cluster, Redis } from "ioredis";
import type { RedisCommands } from "../../../shared/queue/scripts.ts";

/** A clock that a test moves: milliseconds since 1970, of 13 digits. */
export type Clock = { nowMs: number };

/** Changes the text of a script, to prove that a test notices. */
export type Rewrite = (source: string) => string;

/**
 * Runs the scripts at the clock's time instead of the time of Redis. The time travels as the name of a second key in the
 * slot of the first: so the scripts need no code for tests, and a cluster accepts the call.
 */
export function timed(
  redis: Redis | Cluster,
  clock: Clock,
  rewrite: Rewrite = (source) => source,
): RedisCommands {
  const shas = new Map<string, string>();
  const withTime = (keys: string[]): string[] => [...keys, `{${keys[0]}}:${clock.nowMs}`];
  return {
    async evalsha(sha, keys, args) {
      const timedSha = shas.get(sha);
      if (!timedSha) throw new Error("NOSCRIPT this script has not been sent yet");
      return await redis.evalsha(timedSha, keys.length + 1, ...withTime(keys), ...args);
    },
    async eval(script, keys, args) {
      const source = atClock(rewrite(script));
      const reply = await redis.eval(source, keys.length + 1, ...withTime(keys), ...args);
      // The other nodes of a cluster do not know the script and reply NOSCRIPT themselves.
      if (!("nodes" in redis)) shas.set(sha1(script), sha1(source));
      return reply;
    },
  };
}

const TIME = 'redis.call("TIME")';

function atClock(source: string): string {
  if (!source.includes(TIME)) throw new Error(`no ${TIME} in the script: its time cannot be moved`);
  return source.replace(TIME, '{ string.sub(KEYS[2], -13, -4), string.sub(KEYS[2], -3) .. "000" }');
}

function sha1(text: string): string {
  return createHash("sha1").update(text).digest("hex");
}
