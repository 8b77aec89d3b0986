import { RetryableError, TerminalError } from "./step-errors.ts";
import type { Retry } from "../../shared/contracts/definition/index.ts";

/** What becomes of a step after a failed try. */
export type Verdict = { do: "fail" } | { do: "retry"; afterMs: number };

/**
 * Decides on a step whose `tries`-th try (the first is 1) ended in `error`. `random` returns a number in [0, 1); the run
 * has `leftMs` of its time.
 *
 * The wait is exponential with full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter"), and at least as
 * long as the other side demands. When it demands more than is left of the run's time, the step fails at once.
 */
export function judge(
  error: unknown,
  tries: number,
  policy: Retry,
  { random, leftMs }: { random: () => number; leftMs: number },
): Verdict {
  if (error instanceof TerminalError || tries >= policy.attempts) return { do: "fail" };
  const ceilingMs = Math.min(policy.max_seconds, policy.base_seconds * 2 ** (tries - 1)) * 1_000;
  const demandedMs = error instanceof RetryableError ? (error.retryAfterMs ?? 0) : 0;
  if (demandedMs >= leftMs) return { do: "fail" };
  return { do: "retry", afterMs: Math.round(Math.max(random() * ceilingMs, demandedMs)) };
}

/** What clients see of an error. Of an error that is neither terminal nor retryable clients see only that it happened. */
export function failureOf(error: unknown): { code: string; message: string } {
  if (error instanceof TerminalError || error instanceof RetryableError) {
    return { code: error.code, message: error.message };
  }
  return { code: "internal", message: "the step failed because of an internal error" };
}
