import postgres from "postgres";
import { log } from "../../shared/log.ts";
import { connectionOptions } from "../../shared/store/sql.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { stateStoreBy } from "../../shared/store/state.ts";
import type { StateStore } from "../../shared/store/state.ts";
import { POSTGRES_SILENT_MS } from "../../shared/timing.ts";
import { inCurrentStoreSpan, untraced } from "../tracing/tracing.ts";
import type { CurrentTracing } from "../tracing/tracing.ts";

const CONNECTIONS = 6;

/**
 * The state of runs in Postgres, directly or through a pooler.
 *
 * A statement without a reply for 9 s (`answerMs`) replaces the whole pool. Over a link that swallows packets every beat and flush would
 * otherwise wait until TCP gives up, which takes a quarter of an hour. The outcome of the pending statements is unknown, as
 * after any lost connection.
 */
export function postgresStateStore(
  url: string,
  name: string,
  { answerMs = POSTGRES_SILENT_MS, tracing = untraced }: { answerMs?: number; tracing?: CurrentTracing } = {},
): { store: StateStore; close(): Promise<void> } {
  const open = (): Sql =>
    postgres(url, { ...connectionOptions, max: CONNECTIONS, connection: { application_name: name } });
  let pool = open();
  const execute = async <Result>(statement: (sql: Sql) => Promise<Result>): Promise<Result> => {
    const used = pool;
    const timer = setTimeout(() => {
      if (pool === used) {
        log.warn("postgres.pool_replaced", { waited_ms: answerMs });
        pool = open();
      }
      // Rejects the pending statements.
      used.end({ timeout: 0 }).catch(() => {});
    }, answerMs);
    try {
      return await statement(used);
    } finally {
      clearTimeout(timer);
    }
  };
  const store = stateStoreBy((statement, { name: operation, args }) =>
    inCurrentStoreSpan(tracing, { store: "postgres", operation, args }, () => execute(statement)),
  );
  return { store, close: () => pool.end({ timeout: 2 }) };
}
