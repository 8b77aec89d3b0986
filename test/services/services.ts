/** What a test asks for: a database of its own, a Redis of its own. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inject } from "vitest";
import type { Service } from "../../local/processes/child.ts";
import { inMemory, startRedis as start } from "../../local/stores/redis.ts";
import { copyTemplate } from "./databases.ts";

/** A new, migrated, empty database on the run's Postgres; it is dropped when the run ends. @returns its URL. */
export function freshDatabase(): Promise<string> {
  return copyTemplate(inject("postgresUrl"), inject("databaseTemplate"));
}

/**
 * A Redis of the test's own, for tests that flush, stop or kill it. Who starts it stops it.
 * @param port to have it on the same address again after a stop.
 */
export async function startRedis(port = 0): Promise<Service> {
  const dir = mkdtempSync(join(tmpdir(), "synapse-redis-"));
  const redis = await start({ dir, port, args: inMemory });
  const stop = async (): Promise<void> => {
    await redis.stop();
    rmSync(dir, { recursive: true, force: true });
  };
  return { ...redis, stop };
}
