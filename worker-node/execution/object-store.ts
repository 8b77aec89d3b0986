import { setTimeout as sleep } from "node:timers/promises";
import { log, messageOf } from "../../shared/log.ts";
import { RetryableError, TerminalError } from "../engine/step-errors.ts";
import { namedCause } from "../outbound/named-cause.ts";
import { abortable } from "./stop.ts";

/** The shortest wait before a step is tried again after the object store did not answer. It is long enough to give the slot back. */
const AWAY_MS = 10_000;

/** Limits of the requests of a step's values. They stay below the slack of an entry's deadline (`run-log.ts`). */
export type Limits = {
  /** All tries of a put together, or one read. */
  requestMs: number;
  /** The pauses between two tries of a put. */
  pausesMs: readonly number[];
};
/** The limits in production. */
export const LIMITS: Limits = { requestMs: 20_000, pausesMs: [200, 1_000, 3_000] };

/**
 * Where large values are stored. Its methods reject with an ObjectStoreError where the store has answered that another try is
 * in vain, and with any other error where it may succeed.
 */
export type ObjectStore = {
  put(key: string, body: string, contentType: string): Promise<void>;
  /** The text of an object. Null: it has more than `maxBytes`, and nothing of it was read. */
  get(key: string, maxBytes: number): Promise<string | null>;
};

/** The object store refuses the worker (`refused`: its settings are wrong), or does not have the object (`missing`). */
export class ObjectStoreError extends Error {
  readonly why: "refused" | "missing";

  /** @param reason the store's status and word, such as `HTTP 403, AccessDenied`; nothing of the request */
  constructor(why: ObjectStoreError["why"], reason: string, options: { cause?: unknown } = {}) {
    super(reason, options);
    this.name = "ObjectStoreError";
    this.why = why;
  }
}

/**
 * Puts with retries: a store that is unreachable for a moment must not cost a model answer that was paid for.
 * @throws RetryableError `artifacts_away`, TerminalError `artifacts_refused`
 */
export async function putWithRetries(
  store: ObjectStore,
  key: string,
  json: string,
  { requestMs, pausesMs }: Limits,
): Promise<void> {
  const limit = AbortSignal.timeout(requestMs);
  for (const pauseMs of [...pausesMs, null]) {
    try {
      return await abortable(limit, store.put(key, json, "application/json"));
    } catch (error) {
      log.warn("object.put_failed", { key, message: messageOf(error) });
      if (pauseMs === null || limit.aborted || error instanceof ObjectStoreError)
        throw stepErrorOf(error, "take a value over 32 KiB");
      await sleep(pauseMs);
    }
  }
}

/**
 * The text of an object; null: it has more than `maxBytes`.
 * @throws RetryableError `artifacts_away`, TerminalError `artifacts_refused` or `artifact_missing`
 */
export async function getWithin(
  store: ObjectStore,
  key: string,
  maxBytes: number,
  { requestMs }: Limits,
): Promise<string | null> {
  try {
    return await abortable(AbortSignal.timeout(requestMs), store.get(key, maxBytes));
  } catch (error) {
    throw stepErrorOf(error, "give back a value over 32 KiB");
  }
}

/** The error of a step that needs the object store, on a worker that has none. Another worker may have one. */
export function withoutStore(): RetryableError {
  const message =
    "values over 32 KiB and files are in the object store, and this worker has none: set its S3_BUCKET";
  return new RetryableError("artifacts_away", message, { retryAfterMs: AWAY_MS });
}

/**
 * The error that a step throws when the object store did not do `todo`, such as `give back a file`. It quotes no text of the store, which
 * may name credentials.
 */
export function stepErrorOf(error: unknown, todo: string): TerminalError | RetryableError {
  if (!(error instanceof ObjectStoreError)) {
    const message = `the object store did not ${todo}${namedCause(error)}: it is away, or too slow`;
    return new RetryableError("artifacts_away", message, { cause: error, retryAfterMs: AWAY_MS });
  }
  if (error.why === "missing") {
    return new TerminalError(
      "artifact_missing",
      "a value over 32 KiB or a file is not in the object store any more",
      {
        cause: error,
      },
    );
  }
  const settings = "the worker's S3_ENDPOINT, S3_BUCKET, S3_REGION and keys";
  const message = `the object store refuses to ${todo} (${error.message}): are ${settings} right?`;
  return new TerminalError("artifacts_refused", message, { cause: error });
}
