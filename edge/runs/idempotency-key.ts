/** Separates the parts of a key. A client's key has no control character, so no client can send a key of this form. */
const SEPARATOR = "\u0001";

/**
 * The idempotency key of what the edge starts by itself: the run of a trigger's request, a batch (with the client's key alone), or the
 * run of an item of a batch.
 */
export function idempotencyKeyOf(kind: "batch" | "trigger", ...parts: readonly (string | number)[]): string {
  return [kind, ...parts].join(SEPARATOR);
}
