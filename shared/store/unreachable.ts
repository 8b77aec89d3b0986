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
  if (isPostgresError(error)) return UNREACHABLE_STATE.test(sqlState(error) ?? "");
  return UNREACHABLE_CODE.test(sqlState(error) ?? "") || UNREACHABLE_MESSAGE.test(error.message);
}

/** True when the server that answered accepts no writes: a standby, or a primary that was demoted. Nothing of the statement is committed. */
export function isStandby(error: unknown): boolean {
  return sqlState(error) === "25006";
}

/** True when a server that answers lacks disk or memory for the statement (53100, 53200, 53400): another connection would change nothing. */
export function lacksRoom(error: unknown): boolean {
  return /^53[124]00$/.test(sqlState(error) ?? "");
}

/** The SQLSTATE of an error, or the code of the driver or the system; undefined: it has none. */
export function sqlState(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}

/**
 * SQLSTATEs of a statement that the database refused for what it holds: a value that a type cannot hold (22), a broken
 * constraint (23), or more than an index or a row can hold (54). The same statement without that value succeeds.
 */
const DATA_STATE = /^(22|23|54)[0-9A-Z]{3}$/;

/** Whether an SQLSTATE says that the database refused a value of the statement: see `DATA_STATE`. */
export function isDataState(sqlstate: string): boolean {
  return DATA_STATE.test(sqlstate);
}

/** True when the database refused a statement for a value in it: a repetition would fail too. */
export function isDataError(error: unknown): boolean {
  return isPostgresError(error) && isDataState(sqlState(error) ?? "");
}

/**
 * SQLSTATEs of a statement that the database ended for lack of time or for another's sake: a lock that did not come
 * (55P03), a deadlock (40P01), a conflict of snapshots (40001), a time limit (57014). Nothing of it is committed, and
 * it may succeed a moment later.
 */
const BUSY_STATE = /^(55P03|40P01|40001|57014)$/;

/** True when the database ended a statement for lack of time: see `BUSY_STATE`. */
export function isDatabaseBusy(error: unknown): boolean {
  return isPostgresError(error) && BUSY_STATE.test(sqlState(error) ?? "");
}

/** The database could not be reached, and the statement was never sent. `isDatabaseUnreachable` is true for it. */
export class NeverSentError extends Error {
  readonly code = "CONNECT_FAILED";
}

/** True when certainly nothing of the statement is committed: the database refused it, or never got it. */
export function isNotCommitted(error: unknown): boolean {
  return error instanceof NeverSentError || (isPostgresError(error) && !isDatabaseUnreachable(error));
}

function isPostgresError(error: unknown): boolean {
  return error instanceof Error && error.name === "PostgresError";
}
