import { RetryableError, TerminalError } from "../engine/errors.ts";
import { retryAfterOf } from "../models/model-error.ts";
import { messageOf } from "../../shared/log.ts";
import type { TryResult } from "../../shared/store/webhooks/sending.ts";
import type { Incoming } from "../outbound/request.ts";

/** Of one request, from the connection to the end of the answer. */
export const REQUEST_LIMIT_MS = 10_000;

const FIRST_WAIT_MS = 2_000;
const LONGEST_WAIT_MS = 3_600_000;
/** Also when a receiver asks for more: a delivery lives no longer. */
const LONGEST_ASKED_MS = 86_400_000;

export type Verdict = Pick<TryResult, "outcome" | "retry_ms" | "status" | "error">;

/** What an answer means for its delivery. `failures`: how many tries have failed before; `random` answers a number in [0, 1). */
export function judgeAnswer(
  { status, headers }: Pick<Incoming, "status" | "headers">,
  failures: number,
  random: () => number,
): Verdict {
  if (status >= 200 && status < 300) return { outcome: "delivered", retry_ms: 0, status, error: null };
  if (status >= 500 || status === 408 || status === 429) {
    const asked = Math.min(retryAfterOf(headers, Date.now()) ?? 0, LONGEST_ASKED_MS);
    const retry_ms = Math.max(asked, waitMs(failures, random));
    return { outcome: null, retry_ms, status, error: `the receiver answered HTTP ${status}` };
  }
  const why = status >= 300 && status < 400 ? ": redirects are not followed" : "";
  return { outcome: "rejected", retry_ms: 0, status, error: `the receiver answered HTTP ${status}${why}` };
}

/** What it means that there was no answer. Nothing that may pass ends a delivery. */
export function judgeFailure(error: unknown, failures: number, random: () => number): Verdict {
  if (error instanceof TerminalError) {
    return { outcome: "rejected", retry_ms: 0, status: null, error: `${error.code}: ${error.message}` };
  }
  return { outcome: null, retry_ms: waitMs(failures, random), status: null, error: sentenceOf(error) };
}

function sentenceOf(error: unknown): string {
  if (!(error instanceof RetryableError)) return messageOf(error);
  if (error.code === "webhook_timeout")
    return `webhook_timeout: no answer within ${REQUEST_LIMIT_MS / 1_000} s`;
  const { cause } = error;
  const reason = cause instanceof Error && "code" in cause ? ` (${String(cause.code)})` : "";
  return `webhook_${error.code}: ${error.message}${reason}`;
}

/** Doubles with each failure, up to an hour; a quarter more or less, so that those who failed together part. */
function waitMs(failures: number, random: () => number): number {
  const wait = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** Math.min(failures, 20));
  return Math.round(wait * (0.75 + random() / 2));
}
