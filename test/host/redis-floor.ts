/** The oldest Redis that the project supports, and the commands that are newer. */
import type { Redis } from "ioredis";
import { z } from "zod";

/** Sent by the client library on each connection, which ignores the refusal of an older Redis. */
const OPTIONAL = new Set(["client|setinfo"]);

/** All commands that this server has executed since its start, also those of scripts; with subcommand as `container|subcommand`. */
export async function commandsExecutedBy(redis: Redis): Promise<string[]> {
  const stats = await redis.info("commandstats");
  return [...stats.matchAll(/^cmdstat_([^:]+):/gm)].map(([, name = ""]) => name);
}

/** A map as RESP2 returns it: name, value, name, value … */
const Flat = z.array(z.unknown());
const Since = z.templateLiteral([z.int(), ".", z.int(), ".", z.int()]);

/** Those commands that Redis 7.0 lacks, or that this Redis does not know, each with the version that added it. */
export async function newerThanFloor(redis: Redis, commands: string[]): Promise<string[]> {
  const required = commands.filter((name) => !OPTIONAL.has(name));
  const newer: string[] = [];
  for (const name of required) {
    const [, docs] = Flat.parse(await redis.call("COMMAND", "DOCS", name));
    const fields = Flat.parse(docs ?? []);
    const since = docs === undefined ? "unknown" : Since.parse(fields[fields.indexOf("since") + 1]);
    if (since === "unknown" || isNewer(since)) newer.push(`${name} (${since})`);
  }
  return newer;
}

function isNewer(version: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  return major > 7 || (major === 7 && minor > 0);
}
