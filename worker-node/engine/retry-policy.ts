import { RetryableError, TerminalError } from "./step-errors.ts";
import type { Retry } from "../../shared/contracts/definition/index.ts";

/** The longest time that the other side can make a step wait. */
const RETRY_AFTER_CAP_MS = 15 * 60_000;

export type Verdict = { do: "fail" } | { do: "retry"; afterMs: number };

/**
 * Decides on a step whose `tries`-th try (the first is 1) ended in `error`. `random` returns a number in [0, 1).
 *
 * The wait is exponential with full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter"), and at least as
 * long as the other side demands.
 */
export function judge(error: unknown, tries: number, policy: Retry, random: () => number): Verdict {
  if (error instanceof TerminalError || tries >= policy.attempts) return { do: "fail" };
  const ceilingMs = Math.min(policy.max_seconds, policy.base_seconds * 2 ** (tries - 1)) * 1_000;
  const demandedMs = error instanceof RetryableError ? (error.retryAfterMs ?? 0) : 0;
  return {
    do: "retry",
    afterMs: Math.round(Math.max(random() * ceilingMs, Math.min(demandedMs, RETRY_AFTER_CAP_MS))),
  };
}

/** What clients see of an error. An error that is not meant for clients shows only that it happened. */
export function failureOf(error: unknown): { code: string; message: string } {
  if (error instanceof TerminalError || error instanceof RetryableError) {
    return { code: error.code, message: error.message };
  }
  return { code: "internal", message: "the step failed because of an internal error" };
}
