import { setTimeout as sleep } from "node:timers/promises";
import type { RetryPark, Usage } from "../../shared/contracts/journal-entry.ts";
import { turnOfUsage } from "../engine/conversation.ts";
import { RetryableError } from "../engine/step-errors.ts";
import { stepRetry } from "../engine/events.ts";
import { costOf } from "../engine/machine.ts";
import { failureOf, judge } from "../engine/retry-policy.ts";
import { Stop } from "./stop.ts";
import { tryStep } from "./try-step.ts";
import type { Visit, Visited } from "./visit-parts.ts";

/** Waits up to this long keep the run's slot; longer ones give it back. */
const SHORT_WAIT_MS = 5_000;

/** The tries of a visit so far. */
type Tries = {
  count: number;
  /** How many tries ended in a refusal by the other side. */
  refused: number;
  firstFailedAt: string | null;
  /** Model calls of failed tries: they cost money, so they are charged with whatever is committed next. */
  unchargedUsage: Usage[];
};

/** Tries a step until it has a result, fails for good, or has to wait for longer than a slot should be held. */
export async function visitStep(visit: Visit): Promise<Visited> {
  const { progress, signal } = visit;
  const turns = [...progress.turns];
  const tries = triesBefore(progress.retry);
  for (;;) {
    tries.count += 1;
    const effectSuffix = suffixOf(progress.rewinds, tries.refused);
    const usage: Usage[] = [];
    try {
      const { count, unchargedUsage } = tries;
      return await tryStep(visit, { turns, tries: count, effectSuffix, unchargedUsage, usage });
    } catch (error) {
      for (const [i, call] of usage.entries()) {
        tries.unchargedUsage.push({ ...call, call: `try.${tries.count}.${i + 1}` });
      }
      if (signal.aborted) {
        await chargeStopped(visit, tries.unchargedUsage);
        throw signal.reason;
      }
      const decided = afterFailure(visit, tries, error);
      if (decided.is !== "retry") return decided;
      await sleep(decided.afterMs, undefined, { signal }).catch(() => signal.throwIfAborted());
    }
  }
}

/** Charges what a stopped visit used: with the entry that ends the run, or with one of its own before the run is handed back. */
async function chargeStopped(visit: Visit, usage: readonly Usage[]): Promise<void> {
  const { signal } = visit;
  const isHandedBack = signal.reason instanceof Stop && signal.reason.why === "drain";
  if (!isHandedBack) visit.leaveUncharged(usage);
  else if (usage.length > 0) await visit.commitTurn(turnOfUsage(usage), usage);
}

function triesBefore(retry: RetryPark | null): Tries {
  return {
    count: retry?.tries ?? 0,
    refused: retry?.answered ?? 0,
    firstFailedAt: retry?.first_failed_at ?? null,
    unchargedUsage: [],
  };
}

/** Decides on a failed try: the visit fails, parks, or is tried again after a wait that keeps the slot. */
function afterFailure(
  { step, visit, context, endsAtMs }: Visit,
  tries: Tries,
  error: unknown,
): Visited | { is: "retry"; afterMs: number } {
  const firstFailedAt = (tries.firstFailedAt ??= new Date().toISOString());
  const { count, unchargedUsage: usage } = tries;
  const failure = error instanceof Stop ? { code: error.why, message: error.message } : failureOf(error);
  const verdict =
    error instanceof Stop
      ? { do: "fail" as const }
      : judge(error, count, step.retry, { random: Math.random, leftMs: endsAtMs - performance.now() });
  if (verdict.do === "fail") {
    return { is: "failed", error: failure, tries: count, firstFailedAt, cause: error, usage };
  }
  if (error instanceof RetryableError && error.answered) tries.refused += 1;
  const { afterMs } = verdict;
  const event = stepRetry(step, failure, count, afterMs);
  if (afterMs <= SHORT_WAIT_MS) {
    context.note(event);
    return { is: "retry", afterMs };
  }
  const park: RetryPark = {
    step: step.id,
    visit,
    reason: "retry",
    tries: count,
    answered: tries.refused,
    error: failure,
    cost_micro_usd: costOf(usage),
    first_failed_at: firstFailedAt,
  };
  return { is: "wait", status: "queued", afterMs, park, waits: [], signals: null, events: [event], usage };
}

/** The suffix of effect keys: after a client's retry of the run, and after a refusal, a call gets a new key. */
function suffixOf(rewinds: number, refused: number): string {
  return `${rewinds === 0 ? "" : `:r${rewinds}`}${refused === 0 ? "" : `:${refused}`}`;
}
