import { messageOf } from "../../shared/log.ts";
import { SealError } from "../../shared/security/seal.ts";
import type { TryResult } from "../../shared/store/webhooks/delivery-outcomes.ts";
import type { OutboundResponse } from "../outbound/request.ts";
import { WEBHOOK_REQUEST_MS } from "../../shared/timing.ts";
import { RetryableError, TerminalError } from "../engine/step-errors.ts";
import { parseRetryAfterMs } from "../../shared/retry-after.ts";

const FIRST_BACKOFF_MS = 2_000;
const MAX_BACKOFF_MS = 3_600_000;
/** The waits before so many tries take about ten minutes in all: 2 + 4 + … + 256 s are 8.5. */
const NOT_FOUND_FAILURES = 8;
/** The longest `Retry-After` that is respected: a delivery expires after a day. */
const MAX_RETRY_AFTER_MS = 86_400_000;

/** `outcome` null: the delivery is tried again after `retry_ms`. */
export type Verdict = Pick<TryResult, "outcome" | "retry_ms" | "status" | "error" | "sender_failed">;

/**
 * The verdict on a delivery whose receiver responded.
 * @param failures how many tries of this delivery failed before
 * @param random a source of numbers in [0, 1)
 */
export function judgeResponse(
  { status, headers }: Pick<OutboundResponse, "status" | "headers">,
  failures: number,
  random: () => number,
): Verdict {
  if (status >= 200 && status < 300) return { outcome: "delivered", retry_ms: 0, status, error: null };
  if (status >= 500 || status === 408 || status === 429) {
    const retryAfterMs = Math.min(parseRetryAfterMs(headers, Date.now()) ?? 0, MAX_RETRY_AFTER_MS);
    const retry_ms = Math.max(retryAfterMs, backoffMs(failures, random));
    return { outcome: null, retry_ms, status, error: `the receiver answered HTTP ${status}` };
  }
  // A receiver that is being deployed, or not registered yet, answers 404 for a while. 410 says that it is gone for good.
  if (status === 404 && failures < NOT_FOUND_FAILURES) {
    const retry_ms = backoffMs(failures, random);
    return { outcome: null, retry_ms, status, error: "the receiver answered HTTP 404" };
  }
  const reason = status >= 300 && status < 400 ? ": redirects are not followed" : "";
  return { outcome: "rejected", retry_ms: 0, status, error: `the receiver answered HTTP ${status}${reason}` };
}

/** The verdict on a delivery without a response. Only a TerminalError rejects it; every other error is tried again. */
export function judgeFailure(error: unknown, failures: number, random: () => number): Verdict {
  if (error instanceof TerminalError) {
    return { outcome: "rejected", retry_ms: 0, status: null, error: `${error.code}: ${error.message}` };
  }
  const retry = { outcome: null, retry_ms: backoffMs(failures, random), status: null };
  if (error instanceof SealError) return { ...retry, error: error.message, sender_failed: true };
  return { ...retry, error: describeError(error) };
}

function describeError(error: unknown): string {
  if (!(error instanceof RetryableError)) return messageOf(error);
  if (error.code === "webhook_timeout")
    return `webhook_timeout: no answer within ${WEBHOOK_REQUEST_MS / 1_000} s`;
  const { cause } = error;
  const reason = cause instanceof Error && "code" in cause ? ` (${String(cause.code)})` : "";
  return `webhook_${error.code}: ${error.message}${reason}`;
}

/** Doubles with each failure, up to an hour, plus or minus a quarter, so that deliveries that failed together are not retried together. */
function backoffMs(failures: number, random: () => number): number {
  const wait = Math.min(MAX_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** Math.min(failures, 20));
  return Math.round(wait * (0.75 + random() / 2));
}
