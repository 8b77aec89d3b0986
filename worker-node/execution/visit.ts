import type { Usage } from "../../shared/contracts/journal-entry.ts";
import type { Json } from "../../shared/contracts/json.ts";
import { placeOf, stepPath } from "../../shared/journal/track.ts";
import { turnOfUsage, usageOfTurn } from "../engine/conversation-turns.ts";
import type { Turn } from "../engine/conversation-turns.ts";
import { costOf } from "../engine/machine.ts";
import { failureOf } from "../engine/retry-policy.ts";
import { TerminalError } from "../engine/step-errors.ts";
import type { Append } from "../journal/run-log.ts";
import { ProviderWait } from "../models/provider-wait.ts";
import { BudgetPause } from "./budgets.ts";
import { waitForBudget } from "./wait-for-budget.ts";
import { waitForProvider } from "./wait-for-provider.ts";
import type { LongWait, Visit } from "./execution-state.ts";
import { Stop, abortableSleep } from "./stop.ts";
import { afterFailure, failedTries, triesBefore } from "./failed-try.ts";
import type { Tries } from "./failed-try.ts";
import { BackgroundResponses } from "./background-calls.ts";
import { turnEntry } from "./turn-entry.ts";
import type { TryUsage } from "./step-context.ts";
import { tryStep } from "./try-step.ts";
import type { Visited } from "./visit-result.ts";

type VisitOfTrack = Pick<Visit, "state" | "track" | "step" | "visit" | "signal">;

/** Tries a step until it has a result, fails for good, or has to wait for longer than a slot should be held. */
export async function visitStep(visit: Visit): Promise<Visited> {
  const { state, track } = visit;
  // Not a copy: when the visit waits and is tried again in this execution, it goes on after these turns.
  const { turns } = track;
  if (state.reply) state.reply.turns = turns;
  const tries = triesBefore(track.retry);
  const usage: TryUsage = new Map();
  const spent = (): number =>
    costOf([...turns.flatMap(usageOfTurn), ...tries.unchargedUsage, ...usage.values()]);
  // Counted also while the next try waits: other branches must not spend what this visit has spent.
  state.spending.add(spent);
  try {
    return await tryUntilDecided(visit, tries, turns, usage);
  } finally {
    state.spending.delete(spent);
  }
}

async function tryUntilDecided(visit: Visit, tries: Tries, turns: Json[], usage: TryUsage): Promise<Visited> {
  const { state, track, signal } = visit;
  const path = stepPath(track, visit.step.id);
  const inRun = track.path === "" ? "" : `${path}:`;
  const responses = new BackgroundResponses(visit, turns);
  for (;;) {
    tries.count += 1;
    const effectSuffix = suffixOf(state.progress.rewinds, tries.refused);
    try {
      const { count, unchargedUsage } = tries;
      const tried = await tryStep(visit, {
        turns,
        tryNumber: count,
        effectSuffix,
        unchargedUsage,
        usage,
        artifacts: [],
        answers: [],
        responses,
      });
      if (tried.is !== "wait") return tried;
      await chargeBeforeWait(visit, turns, unchargedUsage);
      return withTries(visit, tries, tried);
    } catch (error) {
      if (signal.reason instanceof Stop && signal.reason.leavesRun) await responses.handOver(usage);
      else if (!signal.aborted) responses.abandon(usage);
      // A stop cuts the calls of the try off, or makes their answers useless. Failed tries are charged like others.
      const wasted = signal.aborted || error instanceof Stop ? { wasted: true as const } : {};
      for (const [i, call] of [...usage.values()].entries()) {
        tries.unchargedUsage.push({ ...call, call: `${inRun}try.${tries.count}.${i + 1}`, ...wasted });
      }
      usage.clear();
      if (signal.aborted) {
        await chargeStopped(visit, tries.unchargedUsage);
        throw signal.reason;
      }
      if (error instanceof BudgetPause) return waitForBudget(visit, tries, error);
      if (error instanceof ProviderWait) return waitForProvider(visit, tries, error);
      const { code } = error instanceof Stop ? { code: error.why } : failureOf(error);
      state.deps.count.add("synapse_step_failures_total", { step_type: visit.step.type, code });
      const decided = afterFailure(visit, tries, error);
      if (decided.is !== "retry") return decided;
      await pauseBeforeTry(visit, tries, decided.afterMs);
    }
  }
}

/** Waits with the slot until the next try. What the failed tries have cost is charged also when a stop ends this wait. */
async function pauseBeforeTry(visit: Visit, { unchargedUsage }: Tries, afterMs: number): Promise<void> {
  try {
    await abortableSleep(afterMs, visit.signal);
  } catch (error) {
    await chargeStopped(visit, unchargedUsage);
    throw error;
  }
}

/** Charges the model calls of a stopped visit: with a later entry of the run, or in a turn before the run is handed back. */
export async function chargeStopped(
  { state, track, step, visit, signal }: VisitOfTrack,
  usage: readonly Usage[],
): Promise<void> {
  const reason: unknown = signal.reason;
  if (!(reason instanceof Stop && reason.why === "drain")) state.unchargedUsage.push(...usage);
  else if (usage.length > 0)
    await state.runLog.append(usageEntry({ track, step, visit }, turnOfUsage(usage)));
}

/**
 * Charges the failed tries of a visit whose last try waits for an answer or a run: in a turn, because the park is refused when
 * the answer comes first.
 */
async function chargeBeforeWait(visit: Visit, turns: Json[], usage: Usage[]): Promise<void> {
  if (usage.length === 0) return;
  const data = turnOfUsage(usage);
  const outcome = await visit.state.runLog.append(usageEntry(visit, data));
  if (outcome.is === "rejected") throw new TerminalError("result_rejected", outcome.message);
  turns.push(data);
  usage.length = 0;
}

/** A wait with the failed tries before it: the try after the wait has the next number, and its calls keep their keys. */
function withTries(visit: Visit, tries: Tries, wait: LongWait): LongWait {
  const { park } = wait;
  const retry = failedTries(visit, tries);
  if (retry === undefined || (park.reason !== "child" && park.reason !== "room")) return wait;
  // The park may be refused, because what it waits for has come.
  visit.track.retry = retry;
  return { ...wait, park: { ...park, retry } };
}

function usageEntry({ track, step, visit }: Omit<VisitOfTrack, "state" | "signal">, data: Turn): Append {
  return turnEntry({ track, step }, { ...placeOf(track), step: step.id, visit, data }, data.usage);
}

/** The suffix of effect keys: after a client's retry of the run, and after a refusal, a call gets a new key. */
function suffixOf(rewinds: number, refused: number): string {
  return `${rewinds === 0 ? "" : `:r${rewinds}`}${refused === 0 ? "" : `:${refused}`}`;
}
