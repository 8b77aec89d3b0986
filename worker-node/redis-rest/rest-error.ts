/** Errors of the Upstash REST protocol: a status and `{"error": "<text>"}`. */

/** A response other than 200. The caller gets `message` unchanged, so it never contains a secret. */
export class RestError extends Error {
  override readonly name = "RestError";
  readonly status: 400 | 401 | 405 | 413 | 415 | 500 | 503;
  /** Headers of the response, which say what would be right. */
  readonly headers: { allow?: string; "accept-encoding"?: string };

  constructor(
    status: RestError["status"],
    message: string,
    { headers = {}, ...options }: ErrorOptions & { headers?: RestError["headers"] } = {},
  ) {
    super(message, options);
    this.status = status;
    this.headers = headers;
  }
}

// The texts of responses without a reply begin with `ERR redis`, so that an edge reads them as those of a Redis that is away.

/** The response while Redis cannot be reached. The command was not executed, or the connection was lost. */
export const redisUnreachable = (cause?: unknown) =>
  new RestError(503, "ERR redis is not reachable, try again", { cause });

/** The response to keys of several slots of a cluster, in the words of Redis. */
export const crossSlot = (cause?: unknown) =>
  new RestError(400, "CROSSSLOT Keys in request don't hash to the same slot", { cause });

const noReply = (cause: unknown) =>
  new RestError(
    503,
    "ERR redis has not replied in time: the outcome is unknown, the command may have been executed",
    { cause },
  );

/** The response to all commands without a reply when ioredis, which decodes replies by recursion, has met one that is too deep. */
const tooDeep = (cause: unknown) =>
  new RestError(
    503,
    "ERR redis sent a reply whose arrays are nested thousands of levels deep, as a script can make it, which ended the connection: " +
      "the outcome is unknown, the command may have been executed",
    { cause },
  );

/**
 * The response to a command that failed. An error of Redis is a 400 with Redis' own text, because clients read it
 * (`NOSCRIPT`, `WRONGTYPE`, `OOM`). Every other error that ioredis throws is a 503: Redis has not replied within the
 * time limit, or the connection is gone.
 */
export function toRestError(error: unknown): RestError {
  if (error instanceof RestError) return error;
  if (!(error instanceof Error)) return redisUnreachable(error);
  if (error.name === "ReplyError") return new RestError(400, error.message, { cause: error });
  if (error instanceof RangeError) return tooDeep(error);
  // ioredis itself refuses a command whose keys are of several slots, and does not send it.
  if (error.message.includes("same slot")) return crossSlot(error);
  return error.message === "Command timed out" ? noReply(error) : redisUnreachable(error);
}
