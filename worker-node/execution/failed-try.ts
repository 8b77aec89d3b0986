import type { RetryPark, Usage } from "../../shared/contracts/journal-entry.ts";
import { placeOf } from "../../shared/journal/track.ts";
import { inTrack, stepRetry } from "../engine/events.ts";
import { costOf } from "../engine/machine.ts";
import { failureOf, judge } from "../engine/retry-policy.ts";
import { RetryableError } from "../engine/step-errors.ts";
import { publishedEvents } from "./published-events.ts";
import type { Visit } from "./execution-state.ts";
import { Stop } from "./stop.ts";
import type { Visited } from "./visit-result.ts";

/** The longest wait before a retry that keeps the run's slot; a longer one gives it back. */
export const SHORT_WAIT_MS = 5_000;

/** The tries of a visit so far. */
export type Tries = {
  /** Their number, the current try included. */
  count: number;
  /** How many tries ended in a refusal by the other side: the field `answered` of a park. Each gives the next calls new effect keys. */
  refused: number;
  firstFailedAt: string | null;
  /** The failure of the last of them; null: none has failed. */
  error: { code: string; message: string } | null;
  /** Model calls of failed tries: they cost money, so the next commit of the visit charges them. */
  unchargedUsage: Usage[];
};

/** The tries of earlier executions, from the park in which the visit waited for its next try. */
export function triesBefore(retry: RetryPark | null): Tries {
  return {
    count: retry?.tries ?? 0,
    refused: retry?.answered ?? 0,
    firstFailedAt: retry?.first_failed_at ?? null,
    error: retry?.error ?? null,
    unchargedUsage: [],
  };
}

/** The failed tries of a visit whose current try waits; undefined: there are none. What they have cost is charged. */
export function failedTries(
  { track, step, visit }: Pick<Visit, "track" | "step" | "visit">,
  { count, refused, firstFailedAt, error }: Tries,
): RetryPark | undefined {
  if (count === 1 || error === null) return undefined;
  return {
    ...placeOf(track),
    step: step.id,
    visit,
    reason: "retry",
    tries: count - 1,
    answered: refused,
    error,
    cost_micro_usd: 0,
    first_failed_at: firstFailedAt ?? "",
    wait_ms: 0,
    ...(track.retry?.provider && { provider: track.retry.provider }),
  };
}

/** Decides on a failed try: the visit fails, parks, or is tried again after a wait that keeps the slot. */
export function afterFailure(
  { state, scope, track, step, visit }: Visit,
  tries: Tries,
  error: unknown,
): Visited | { is: "retry"; afterMs: number } {
  const { count, unchargedUsage: usage } = tries;
  // Before the first failure it was the time since which the try waited for its provider.
  if (count === 1 || tries.firstFailedAt === null) tries.firstFailedAt = new Date().toISOString();
  const { firstFailedAt } = tries;
  const failure = error instanceof Stop ? { code: error.why, message: error.message } : failureOf(error);
  const verdict =
    error instanceof Stop
      ? { do: "fail" as const }
      : judge(error, count, step.retry, { random: Math.random, leftMs: scope.endsAtMs - performance.now() });
  if (verdict.do === "fail") {
    return { is: "failed", error: failure, tries: count, firstFailedAt, cause: error, usage };
  }
  tries.error = failure;
  if (error instanceof RetryableError && error.answered) tries.refused += 1;
  const { afterMs } = verdict;
  const event = inTrack(track, stepRetry(step, failure, count, afterMs));
  if (afterMs <= SHORT_WAIT_MS) {
    state.runLog.note(publishedEvents(event));
    return { is: "retry", afterMs };
  }
  const park: RetryPark = {
    ...placeOf(track),
    step: step.id,
    visit,
    reason: "retry",
    tries: count,
    answered: tries.refused,
    error: failure,
    cost_micro_usd: costOf(usage),
    first_failed_at: firstFailedAt,
    wait_ms: afterMs,
  };
  return { is: "wait", status: "queued", afterMs, park, waits: [], signals: null, events: [event], usage };
}
