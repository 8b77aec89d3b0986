import postgres from "postgres";
import { log } from "../../shared/log.ts";
import { connectionOptions } from "../../shared/store/sql.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { stateStoreBy } from "../../shared/store/state.ts";
import type { StateStore } from "../../shared/store/state.ts";

/** Longer than a connection and the longest statement may take: then there is nobody at the other end. */
const ANSWER_MS = 9_000;
const CONNECTIONS = 6;

/**
 * The state of runs in Postgres, directly or through a pooler.
 *
 * A question without an answer costs the pool its connections: a link that swallows what is sent would otherwise keep
 * every beat and flush waiting until TCP gives up, which takes a quarter of an hour. Its outcome is unknown then, as
 * with any connection that was lost.
 */
export function postgresStateStore(
  url: string,
  name: string,
  answerMs = ANSWER_MS,
): { store: StateStore; close(): Promise<void> } {
  const open = (): Sql =>
    postgres(url, { ...connectionOptions, max: CONNECTIONS, connection: { application_name: name } });
  let pool = open();
  const store = stateStoreBy(async (question) => {
    const asked = pool;
    const late = setTimeout(() => {
      if (pool === asked) {
        log.warn("postgres.silent", { waited_ms: answerMs });
        pool = open();
      }
      // Rejects all that it was asked and has not answered.
      asked.end({ timeout: 0 }).catch(() => {});
    }, answerMs);
    try {
      return await question(asked);
    } finally {
      clearTimeout(late);
    }
  });
  return { store, close: () => pool.end({ timeout: 2 }) };
}
