import { setTimeout as sleep } from "node:timers/promises";
import type { RetryPark, Usage } from "../../shared/contracts/journal-entry.ts";
import type { RunEvent } from "../../shared/contracts/event.ts";
import { RetryableError } from "../engine/errors.ts";
import { stepRetry } from "../engine/events.ts";
import { failureOf, judge } from "../engine/retry-policy.ts";
import type { Parked } from "../journal/entries.ts";
import { Stop } from "./stop.ts";
import { tryStep } from "./try-step.ts";
import type { Visit, Visited } from "./visit-parts.ts";

/** Waits up to this long keep the run's slot; longer ones give it back. */
const SHORT_WAIT_MS = 5_000;

/** Tries a step until it has a result, fails for good, or has to wait for longer than a slot should be held. */
export async function visitStep(visit: Visit): Promise<Visited> {
  const { progress, step, signal } = visit;
  const turns = [...progress.turns];
  const { tries: triesBefore = 0, answered: refusedBefore = 0, first_failed_at } = progress.retry ?? {};
  let tries = triesBefore;
  let refusals = refusedBefore;
  let firstFailedAt = first_failed_at;
  /** Model calls of failed tries: they cost money, so they are charged with whatever is committed next. */
  const unchargedUsage: Usage[] = [];
  for (;;) {
    tries += 1;
    const effectSuffix = suffixOf(progress.rewinds, refusals);
    const usage: Usage[] = [];
    try {
      return await tryStep(visit, { turns, tries, effectSuffix, unchargedUsage, usage });
    } catch (error) {
      for (const [i, call] of usage.entries()) {
        unchargedUsage.push({ ...call, call: `try.${tries}.${i + 1}` });
      }
      if (signal.aborted) throw signal.reason;
      firstFailedAt ??= new Date().toISOString();
      const failure = error instanceof Stop ? { code: error.why, message: error.message } : failureOf(error);
      const verdict =
        error instanceof Stop ? { do: "fail" as const } : judge(error, tries, step.retry, Math.random);
      if (verdict.do === "fail") {
        return { is: "failed", error: failure, tries, firstFailedAt, cause: error, usage: unchargedUsage };
      }
      if (error instanceof RetryableError && error.answered) refusals += 1;
      const event = stepRetry(step, failure, tries, verdict.afterMs);
      if (verdict.afterMs > SHORT_WAIT_MS) {
        const park: RetryPark = {
          step: step.id,
          visit: visit.visit,
          reason: "retry",
          tries,
          answered: refusals,
          error: failure,
          first_failed_at: firstFailedAt,
        };
        return parkedUntilRetry(park, verdict.afterMs, event, unchargedUsage);
      }
      visit.context.note(event);
      await sleep(verdict.afterMs, undefined, { signal }).catch(() => signal.throwIfAborted());
    }
  }
}

function parkedUntilRetry(
  park: RetryPark,
  afterMs: number,
  event: RunEvent,
  usage: readonly Usage[],
): Parked {
  return { is: "wait", status: "queued", afterMs, park, waits: [], signals: null, events: [event], usage };
}

/**
 * What makes a call to the outside another call, with an effect key of its own: a client's retry of the run, and a
 * refusal by the other side.
 */
function suffixOf(rewinds: number, refusals: number): string {
  return `${rewinds === 0 ? "" : `:r${rewinds}`}${refusals === 0 ? "" : `:${refusals}`}`;
}
