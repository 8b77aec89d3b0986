/** Errors as the Upstash REST protocol tells them: a status and `{"error": "<text>"}`. */

/** An answer other than 200. `message` goes to the caller as it is, so it never holds a secret. */
export class RestError extends Error {
  override readonly name = "RestError";
  readonly status: 400 | 401 | 405 | 413 | 500 | 503;

  constructor(status: RestError["status"], message: string, options?: ErrorOptions) {
    super(message, options);
    this.status = status;
  }
}

export const redisAway = (cause?: unknown) =>
  new RestError(503, "ERR redis is not reachable, try again", { cause });

export const crossSlot = (cause?: unknown) =>
  new RestError(400, "CROSSSLOT Keys in request don't hash to the same slot", { cause });

/**
 * What the caller is told when a command failed. What Redis itself answered is a 400 with Redis' own words, which
 * clients read (`NOSCRIPT`, `WRONGTYPE`, `OOM`); everything else that ioredis throws means that Redis gave no answer.
 */
export function toRestError(error: unknown): RestError {
  if (error instanceof RestError) return error;
  if (!(error instanceof Error)) return redisAway(error);
  if (error.name === "ReplyError") return new RestError(400, error.message, { cause: error });
  // Redis never saw this one: ioredis itself refuses a command of a transaction whose keys are of several slots.
  if (error.message.includes("same slot")) return crossSlot(error);
  return redisAway(error);
}
