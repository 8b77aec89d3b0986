/**
 * ` (ENOTFOUND)`: Node's or TLS's name for why a connection failed, which says what to mend: the host's name, its
 * certificate, its port. Empty where the error has none. A name quotes nothing of a request.
 */
export function namedCause(error: unknown, depth = 0): string {
  if (!(error instanceof Error) || depth > 4) return "";
  const inner = namedCause(error.cause, depth + 1);
  if (inner !== "") return inner;
  return "code" in error && typeof error.code === "string" && /^[A-Z][A-Z0-9_]{2,60}$/.test(error.code)
    ? ` (${error.code})`
    : "";
}
