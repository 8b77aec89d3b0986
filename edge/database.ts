import postgres from "postgres";
import type { Sql } from "../shared/store/sql.ts";
import { connectionOptions } from "../shared/store/sql.ts";

/**
 * Postgres through Hyperdrive, for one request: a socket cannot be used by another. The runtime closes it with the
 * request. A database that does not answer within a second is away.
 */
export function openDatabase(hyperdrive: Hyperdrive, max = 5): Sql {
  return postgres(hyperdrive.connectionString, {
    ...connectionOptions,
    max,
    connect_timeout: 1,
    idle_timeout: 20,
  });
}

/** Connection lost or refused (08), shut down (57), out of connections (53), a standby (25006). */
const AWAY_STATE = /^(08|57P|53|25006)/;
const AWAY_CODE = /^(CONNECT|ECONN|EPIPE|ETIMEDOUT|ENOTFOUND|EAI_AGAIN|EHOST)/;
const AWAY_MESSAGE =
  /network connection lost|connection (was )?(closed|lost|refused|reset)|socket|proxy request/i;

/** Is this the error of a database that cannot be asked, rather than its answer? */
export function isDatabaseAway(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if (error.name === "PostgresError") return AWAY_STATE.test(sqlState(error) ?? "");
  return AWAY_CODE.test(sqlState(error) ?? "") || AWAY_MESSAGE.test(error.message);
}

/** The SQLSTATE, or the driver's own code, of an error. */
export function sqlState(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}
