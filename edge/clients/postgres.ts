import postgres from "postgres";
import { connectionOptions } from "../../shared/store/sql.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { POSTGRES_CONNECT_MS } from "../../shared/timing.ts";
import { readConfig } from "../env.ts";
import type { Env } from "../env.ts";
import { loginTimes } from "./login-times.ts";

/** A database that usually answers at once, and has not completed a login after this time, is unreachable: queries fail within a second. */
const CONNECT_MS = 850;

/** The binding through which an edge reaches Postgres, among its variables. */
export type DatabaseEnv = { HYPERDRIVE: Pick<Env["HYPERDRIVE"], "connectionString"> };

/** `isFirst`: no login of the caller has succeeded yet, so it has the whole time for a connection. */
type ConnectionEvents = { isFirst?: boolean; onlogin?: () => void; onclose?: () => void };

/**
 * Opens Postgres through Hyperdrive. The connections belong to the request or the object that opens them, and the runtime
 * closes them with it. Queries are rejected when the login takes much longer than the last ones: see `LoginTimes`.
 *
 * The driver's own `connect_timeout` is not enough. A proxy that cannot reach its database closes a connection cleanly
 * before it is ready, and the driver then connects again, without a pause and for ever.
 */
export function openDatabase(
  env: DatabaseEnv,
  max = 5,
  { isFirst = false, onlogin = () => {}, onclose = () => {} }: ConnectionEvents = {},
): Sql {
  let begunMs = performance.now();
  const limitMs = isFirst ? POSTGRES_CONNECT_MS : loginTimes.limitMs(CONNECT_MS);
  const stopTimer = afterOwnTime(limitMs, () => void closeDatabase(sql));
  let isLoggedIn = false;
  const sql = postgres(env.HYPERDRIVE.connectionString, {
    ...connectionOptions,
    prepare: readConfig(env).PREPARE_STATEMENTS,
    max,
    idle_timeout: 20,
    // A server sends its parameters first, as soon as the login is complete.
    onparameter: () => {
      stopTimer();
      // The first connection begins at once, and again when it was closed; the others of this pool begin later.
      if (!isLoggedIn) loginTimes.add(performance.now() - begunMs);
      isLoggedIn = true;
      onlogin();
    },
    onclose: () => {
      begunMs = performance.now();
      onclose();
    },
  });
  return sql;
}

/**
 * Closes all connections, and rejects pending queries.
 * @param graceMs pending queries have this long to end
 */
export async function closeDatabase(sql: Sql, graceMs = 0): Promise<void> {
  try {
    await sql.end({ timeout: graceMs / 1_000 });
  } catch {
    // A socket that has already failed has nothing left to close.
  }
}

/**
 * A timer of own time looks this often, and counts this much at each look, however late it is. All of them have one tick,
 * so that a busy process slows them alike: the time of a login would otherwise end before the query is old enough to be
 * called slow.
 */
export const TICK_MS = 25;

/**
 * Calls `act` after `ms` in which this process could have noticed an answer. Time in which other work kept the process busy
 * does not count: the peer may have answered meanwhile.
 * @returns a function that prevents the call
 */
export function afterOwnTime(ms: number, act: () => void): () => void {
  let leftMs = ms;
  const timer = setInterval(() => {
    leftMs -= TICK_MS;
    if (leftMs > 0) return;
    clearInterval(timer);
    act();
  }, TICK_MS);
  return () => clearInterval(timer);
}
