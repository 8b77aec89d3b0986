/** Whether a `Prefer` header (RFC 7240) asks to ignore what is not known instead of refusing it. */
export function isLenient(prefer: string | undefined): boolean {
  return (prefer ?? "")
    .split(",")
    .some((preference) => /^\s*handling\s*=\s*"?lenient"?\s*(;|$)/i.test(preference));
}
