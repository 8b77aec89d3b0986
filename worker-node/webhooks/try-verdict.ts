import { LANE_DEFAULTS, backoffOf } from "../../shared/contracts/lane-settings.ts";
import type { LaneSettings } from "../../shared/contracts/lane-settings.ts";
import { messageOf } from "../../shared/log.ts";
import { SealError } from "../../shared/security/seal.ts";
import type { TryResult } from "../../shared/store/webhooks/delivery-outcomes.ts";
import type { OutboundResponse } from "../outbound/request.ts";
import { WEBHOOK_REQUEST_MS } from "../../shared/timing.ts";
import { RetryableError, TerminalError } from "../engine/step-errors.ts";
import { parseRetryAfterMs } from "../../shared/http/retry-after.ts";

/**
 * After so many failures a 404 is final. With the default backoff the waits before take about ten minutes in all: 2 + 4 + … + 256 s are
 * 8.5.
 */
const NOT_FOUND_FAILURES = 8;
/** The longest `Retry-After` that is respected: a delivery expires after a day. */
const MAX_RETRY_AFTER_MS = 86_400_000;

/** What the lane of webhooks says of its tries. */
type TryRules = Pick<LaneSettings, "attempts" | "first_backoff_seconds" | "timeout_seconds">;

/** How long a receiver has to answer, in milliseconds. Never longer than a delivery's lease allows. */
export function deliveryTimeoutMsOf({ timeout_seconds: seconds }: Pick<TryRules, "timeout_seconds">): number {
  return Math.min(WEBHOOK_REQUEST_MS, (seconds ?? Infinity) * 1_000);
}

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
  rules: TryRules = LANE_DEFAULTS.webhooks,
): Verdict {
  if (status >= 200 && status < 300) return { outcome: "delivered", retry_ms: 0, status, error: null };
  if (status >= 500 || status === 408 || status === 429) {
    const retryAfterMs = Math.min(parseRetryAfterMs(headers, Date.now()) ?? 0, MAX_RETRY_AFTER_MS);
    const retry_ms = Math.max(retryAfterMs, jitteredMs(failures, random, rules));
    return unlessLast(
      { outcome: null, retry_ms, status, error: `the receiver answered HTTP ${status}` },
      failures,
      rules,
    );
  }
  // A receiver that is being deployed, or not registered yet, answers 404 for a while. 410 says that it is gone for good.
  if (status === 404 && failures < NOT_FOUND_FAILURES) {
    const retry_ms = jitteredMs(failures, random, rules);
    return unlessLast(
      { outcome: null, retry_ms, status, error: "the receiver answered HTTP 404" },
      failures,
      rules,
    );
  }
  const reason = status >= 300 && status < 400 ? ": redirects are not followed" : "";
  return { outcome: "rejected", retry_ms: 0, status, error: `the receiver answered HTTP ${status}${reason}` };
}

/** The verdict on a delivery without a response. Only a TerminalError rejects it; every other error is tried again. */
export function judgeFailure(
  error: unknown,
  failures: number,
  random: () => number,
  rules: TryRules = LANE_DEFAULTS.webhooks,
): Verdict {
  if (error instanceof TerminalError) {
    return { outcome: "rejected", retry_ms: 0, status: null, error: `${error.code}: ${error.message}` };
  }
  const retry = { outcome: null, retry_ms: jitteredMs(failures, random, rules), status: null };
  // A worker that cannot sign has sent nothing: the failure takes no attempt away.
  if (error instanceof SealError) return { ...retry, error: error.message, sender_failed: true };
  return unlessLast({ ...retry, error: describeError(error, rules) }, failures, rules);
}

/** The verdict on a failed try, or the end of the delivery when the lane allows no further one. */
function unlessLast(verdict: Verdict, failures: number, { attempts }: TryRules): Verdict {
  if (attempts === null || failures + 1 < attempts) return verdict;
  const error = `${verdict.error}; it was try ${failures + 1} of ${attempts}, as the lane webhooks allows`;
  return { ...verdict, outcome: "rejected", retry_ms: 0, error };
}

function describeError(error: unknown, rules: TryRules): string {
  if (!(error instanceof RetryableError)) return messageOf(error);
  if (error.code === "webhook_timeout")
    return `webhook_timeout: no answer within ${deliveryTimeoutMsOf(rules) / 1_000} s`;
  return `webhook_${error.code}: ${error.message}`;
}

/** The lane's backoff plus or minus a quarter, so that deliveries that failed together are not retried together. */
function jitteredMs(failures: number, random: () => number, { first_backoff_seconds }: TryRules): number {
  return Math.round(backoffOf(first_backoff_seconds, failures + 1) * (0.75 + random() / 2));
}
