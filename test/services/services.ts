/** Stores for tests: a database of its own, a Redis of its own. */
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { inject } from "vitest";
import type { Service } from "../../local/processes/child.ts";
import { inMemory, startRedis as start } from "../../local/stores/redis.ts";
import { copyTemplate } from "./databases.ts";

/** A new, migrated, empty database on the Postgres of all tests; it is dropped at the end. @returns its URL. */
export function freshDatabase(): Promise<string> {
  return copyTemplate(inject("postgresUrl"), inject("databaseTemplate"));
}

/**
 * A Redis of the test's own, for tests that flush, stop or kill it. The test stops it.
 * @param port the port of an earlier one, to start it at the same address again.
 */
export async function startRedis(port = 0): Promise<Service> {
  const dir = mkdtempSync(join(inject("ownFolder"), "redis-"));
  const redis = await start({ dir, port, args: inMemory });
  const stop = async (): Promise<void> => {
    await redis.stop();
    rmSync(dir, { recursive: true, force: true });
  };
  return { ...redis, stop };
}
