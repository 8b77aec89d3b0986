import { log } from "../../shared/log.ts";
import { connectionOptions } from "../../shared/store/sql.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { stateStoreBy } from "../../shared/store/state.ts";
import type { StateStore } from "../../shared/store/state.ts";
import { isStandby } from "../../shared/store/unreachable.ts";
import { POSTGRES_SILENT_MS, POSTGRES_STANDBY_PAUSE_MS } from "../../shared/timing.ts";
import { connectPostgres } from "./connect-postgres.ts";
import { inCurrentStoreSpan, untraced } from "../tracing/tracing.ts";
import type { CurrentTracing } from "../tracing/tracing.ts";
import { SpreadStatements } from "./spread-statements.ts";

const CONNECTIONS = 6;

/** Longer than the pauses between the bursts of a worker that has work: a login costs more than most statements. */
const IDLE_MS = 30_000;

/**
 * The state of runs in Postgres, directly or through a pooler.
 *
 * A statement without a reply for 9 s (`answerMs`) replaces all connections. Over a link that swallows packets every beat and flush would
 * otherwise wait until TCP gives up, which takes a quarter of an hour. The outcome of the pending statements is unknown, as
 * after any lost connection.
 *
 * A statement that a standby refused replaces all connections too, once in two seconds. A connection that reached the old primary after a failover stays open and
 * answers, so every later write would be refused for as long as it lives. The statements under way have their own time to end.
 */
export function postgresStateStore(
  url: string,
  name: string,
  {
    answerMs = POSTGRES_SILENT_MS,
    idleMs = IDLE_MS,
    standbyPauseMs = POSTGRES_STANDBY_PAUSE_MS,
    tracing = untraced,
  }: { answerMs?: number; idleMs?: number; standbyPauseMs?: number; tracing?: CurrentTracing } = {},
): { store: StateStore; close(): Promise<void> } {
  const connect = (): Sql =>
    connectPostgres(url, { ...connectionOptions, max: 1, connection: { application_name: name } });
  const open = () => new SpreadStatements(connect, { max: CONNECTIONS, idleMs });
  let pool = open();
  /** @param graceMs the time in which pending statements may end: then they are rejected */
  const replace = (used: SpreadStatements, reason: "silent" | "standby", graceMs: number): void => {
    if (pool === used) {
      log.warn("postgres.pool_replaced", { reason });
      pool = open();
    }
    used.end(graceMs / 1_000).catch(() => {});
  };
  let standbyUntilMs = 0;
  const leaveStandby = (used: SpreadStatements): void => {
    if (pool !== used || performance.now() < standbyUntilMs) return;
    standbyUntilMs = performance.now() + standbyPauseMs;
    replace(used, "standby", answerMs);
  };
  const execute = async <Result>(statement: (sql: Sql) => Promise<Result>): Promise<Result> => {
    const used = pool;
    const timer = setTimeout(() => replace(used, "silent", 0), answerMs);
    try {
      return await used.execute(statement);
    } catch (error) {
      if (isStandby(error)) leaveStandby(used);
      throw error;
    } finally {
      clearTimeout(timer);
    }
  };
  const store = stateStoreBy((statement, { name: operation, args }) =>
    inCurrentStoreSpan(tracing, { store: "postgres", operation, args }, () => execute(statement)),
  );
  return { store, close: () => pool.end(2) };
}
