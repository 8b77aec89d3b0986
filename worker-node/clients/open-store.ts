import { setTimeout as sleep } from "node:timers/promises";
import { log, messageOf } from "../../shared/log.ts";
import type { StateStore } from "../../shared/store/state.ts";
import { migrate } from "./migrations.ts";
import type { Config } from "../config.ts";
import { edgeStateStore } from "./http-state.ts";
import { postgresStateStore } from "./postgres-state.ts";
import { isUnreachable } from "./sqlstate.ts";
import type { CurrentTracing } from "../tracing/tracing.ts";

/** The pause between two tries to reach Postgres. */
const PAUSE_MS = 2_000;

/**
 * Opens the state of runs: Postgres itself, migrated to the newest schema, or the edge in front of it (STATE_URL). Waits for
 * as long as Postgres is unreachable, as a running worker does.
 * @throws Error when Postgres answers and refuses the connection or the migration
 */
export async function openStore(
  config: Config,
  tracing: CurrentTracing,
): Promise<{ store: StateStore; close(): Promise<void> }> {
  if (config.STATE_URL && config.STATE_SECRET) {
    return { store: edgeStateStore(config.STATE_URL, config.STATE_SECRET, tracing), close: async () => {} };
  }
  const url = config.SCALE_POSTGRES_URL ?? "";
  await migrateOnceReached(config.SCALE_POSTGRES_DIRECT_URL ?? url);
  return postgresStateStore(url, config.workerId, { tracing });
}

async function migrateOnceReached(url: string): Promise<void> {
  for (;;) {
    try {
      return await migrate(url);
    } catch (error) {
      if (!isUnreachable(error)) throw error;
      log.warn("worker.postgres_unreachable", { message: messageOf(error) });
      await sleep(PAUSE_MS);
    }
  }
}
