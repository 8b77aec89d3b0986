import { connect } from "cloudflare:sockets";
import postgres from "postgres";
import { connectionOptions } from "../../shared/store/sql.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { POSTGRES_CONNECT_MS } from "../../shared/timing.ts";
import { elapsedMs } from "../../shared/tasks/elapsed-ms.ts";
import { readConfig } from "../env.ts";
import type { Env } from "../env.ts";
import { loginTimes } from "./login-times.ts";
import { RuntimeSocket } from "./runtime-socket.ts";

/** The least time for a login. A database whose logins are usually fast is unreachable after it, so queries fail within a second. */
const CONNECT_MS = 850;

const POSTGRES_PORT = "5432";

/** The binding through which an edge reaches Postgres, among its variables. */
export type DatabaseEnv = { HYPERDRIVE: Pick<Env["HYPERDRIVE"], "connectionString"> };

/** `isFirst`: the caller has had no successful login yet, so this one has `POSTGRES_CONNECT_MS`. `onlogin`, `onclose`: per connection. */
type ConnectionEvents = { isFirst?: boolean; onlogin?: () => void; onclose?: () => void };

/**
 * Opens Postgres through Hyperdrive. The connections belong to the request or the object that opens them, and the runtime
 * closes them with it. Queries are rejected when the login takes much longer than earlier logins: see `LoginTimes`.
 *
 * The driver's own `connect_timeout` is not enough. A proxy that cannot reach its database closes a connection cleanly
 * before it is ready, and the driver then connects again, without a pause and for ever.
 */
export function openDatabase(
  env: DatabaseEnv,
  max: number,
  { isFirst = false, onlogin = () => {}, onclose = () => {} }: ConnectionEvents = {},
): Sql {
  let begunMs = elapsedMs();
  const limitMs = isFirst ? POSTGRES_CONNECT_MS : loginTimes.limitMs(CONNECT_MS);
  const stopTimer = afterOwnTime(limitMs, () => void closeDatabase(sql));
  let isLoggedIn = false;
  const { connectionString } = env.HYPERDRIVE;
  // Its type does not have `socket`, which the driver's README describes.
  const options = {
    ...connectionOptions,
    // Hyperdrive itself speaks TLS with the database.
    ssl: false,
    socket: () => openSocket(connectionString),
    prepare: readConfig(env).PREPARE_STATEMENTS,
    max,
    // A server sends its parameters first, as soon as the login is complete.
    onparameter: () => {
      stopTimer();
      // Only the first login counts: it begins when the pool is opened, or when its connection was closed. The beginnings of later logins are unknown.
      if (!isLoggedIn) loginTimes.add(elapsedMs() - begunMs);
      isLoggedIn = true;
      onlogin();
    },
    onclose: () => {
      begunMs = elapsedMs();
      onclose();
    },
  };
  const sql = postgres(connectionString, options);
  return sql;
}

/** A connection that the driver may use at once: what it writes waits until the connection is open. */
function openSocket(connectionString: string): RuntimeSocket {
  const { hostname, port } = new URL(connectionString);
  const raw = connect(`${hostname}:${port || POSTGRES_PORT}`);
  return new RuntimeSocket(raw, hostname, Number(port || POSTGRES_PORT));
}

/**
 * Closes all connections. Pending queries have `graceMs` to end, and are rejected then. Never throws.
 */
export async function closeDatabase(sql: Sql, graceMs = 0): Promise<void> {
  try {
    await sql.end({ timeout: graceMs / 1_000 });
  } catch {
    // A socket that has already failed has nothing left to close.
  }
}

/**
 * The tick of all timers that measure own time (`afterOwnTime`): each counts this much at each tick, however late the tick is. They
 * have the same tick so that a busy process slows all of them alike. Otherwise the time of a login could end before its query counts
 * as slow.
 */
export const TICK_MS = 25;

/**
 * Calls `act` after `ms` milliseconds of own time: time in which this process could have noticed an answer. While other work keeps
 * the process busy, own time does not pass, because the peer may have answered meanwhile.
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
