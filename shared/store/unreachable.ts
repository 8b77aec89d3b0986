/**
 * SQLSTATEs of a database that cannot serve: connection lost or refused, also by PgBouncer (08), shut down or starting
 * up (57P), out of connections (53), a standby (25006), and Hyperdrive's own errors (58000:
 * developers.cloudflare.com/hyperdrive/observability/troubleshooting).
 */
const UNREACHABLE_STATE = /^(08|57P|53|25006|58000)/;
const UNREACHABLE_CODE = /^(CONNECT|ECONN|EPIPE|ETIMEDOUT|ENOTFOUND|EAI_AGAIN|EHOST)/;
/** The errors of workerd's sockets have no code, only a message. */
const UNREACHABLE_MESSAGE =
  /network connection lost|connection (attempt failed|(was )?(closed|lost|refused|reset))|writablestream has been closed|socket|proxy request/i;

/** True for the error of a database that could not be reached; false when the database itself refused the statement. */
export function isDatabaseUnreachable(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if (error.name === "PostgresError") return UNREACHABLE_STATE.test(sqlState(error) ?? "");
  return UNREACHABLE_CODE.test(sqlState(error) ?? "") || UNREACHABLE_MESSAGE.test(error.message);
}

/** The SQLSTATE, or the driver's own code, of an error. */
export function sqlState(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}
