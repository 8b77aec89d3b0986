/** The oldest Redis that the project runs on, and which commands are newer than it. */
import type { Redis } from "ioredis";
import { z } from "zod";

/** Said by the client library on each connection; it ignores that an older Redis refuses. */
const OPTIONAL = new Set(["client|setinfo"]);

/** All commands that this server was given since its start, also by scripts; `container|subcommand` where there are such. */
export async function commandsGivenTo(redis: Redis): Promise<string[]> {
  const stats = await redis.info("commandstats");
  return [...stats.matchAll(/^cmdstat_([^:]+):/gm)].map(([, name = ""]) => name);
}

/** A map, as a connection that speaks RESP2 gets it: name, value, name, value … */
const Flat = z.array(z.unknown());
const Since = z.templateLiteral([z.int(), ".", z.int(), ".", z.int()]);

/** Of these commands those that Redis 7.0 does not have, or that this Redis does not know, each with its first version. */
export async function newerThanFloor(redis: Redis, commands: string[]): Promise<string[]> {
  const asked = commands.filter((name) => !OPTIONAL.has(name));
  const newer: string[] = [];
  for (const name of asked) {
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
