import { isDataState } from "../../shared/store/unreachable.ts";

/**
 * What to do after a failed statement. `retry`: Postgres was unreachable or overloaded, or the statement lost a race; the same
 * statement may succeed. `slow`: it took longer than Postgres allows, because of the load or because of what it holds.
 * `data`: it holds a value that Postgres will never accept, or it (or its reply) is too long to be made.
 */
export function judgeStatement(error: unknown): "retry" | "slow" | "data" {
  const code = codeOf(error);
  // After all other codes another try may succeed: 08, 40, 53, 55, 57, the driver's CONNECTION_… and the system's ECONN… codes. An
  // unknown code is retried too: an entry is better written late than not at all.
  if (isDataState(code) || error instanceof RangeError || TOO_LONG.test(code)) return "data";
  return code === "57014" ? "slow" : "retry";
}

/** Node's errors for a text or a buffer that is longer than a process can hold. A text that is too long is a RangeError too. */
const TOO_LONG = /^ERR_(STRING_TOO_LONG|BUFFER_TOO_LARGE|OUT_OF_RANGE)$/;

/**
 * True when Postgres was not reached or not ready (08 connection, 53 resources, 57 starting or stopping, a standby); false when it
 * refused the statement.
 */
export function isUnreachable(error: unknown): boolean {
  const code = codeOf(error);
  const isSqlState = /^[0-9A-Z]{5}$/.test(code);
  return isSqlState ? /^(08|53|57|25006)/.test(code) : /^(CONNECT|E[A-Z]*$)/.test(code);
}

/** The code of an error, or of its cause. */
function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return "";
  return "code" in error && typeof error.code === "string" ? error.code : codeOf(error.cause);
}
