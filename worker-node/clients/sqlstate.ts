/**
 * What a failed statement calls for. `again`: Postgres was away, overloaded or lost a race; the same statement may
 * succeed as it is. `data`: it holds something that Postgres will never take.
 */
export function judgeStatement(error: unknown): "again" | "data" {
  const code = codeOf(error);
  // 22 data exception, 23 integrity constraint violation, 54 program limit exceeded. All else may pass: 08, 40, 53,
  // 55, 57, the driver's own CONNECTION_… codes and the system's ECONN…; and what nobody has thought of is kept
  // rather than lost.
  return /^(22|23|54)[0-9A-Z]{3}$/.test(code) ? "data" : "again";
}

/** Was Postgres not reached, or not ready (08 connection, 53 resources, 57 starting or stopping)? Else it has judged. */
export function isAway(error: unknown): boolean {
  const code = codeOf(error);
  const isSqlState = /^[0-9A-Z]{5}$/.test(code);
  return isSqlState ? /^(08|53|57)/.test(code) : /^(CONNECT|E[A-Z]*$)/.test(code);
}

/** The code of an error, or of what caused it. */
function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return "";
  return "code" in error && typeof error.code === "string" ? error.code : codeOf(error.cause);
}
