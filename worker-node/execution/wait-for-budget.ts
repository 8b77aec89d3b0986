import type { BudgetWait } from "../../shared/contracts/budget.ts";
import { placeOf, stepPath } from "../../shared/journal/track.ts";
import { inTrack, namesOf } from "../engine/events.ts";
import { costOf } from "../engine/machine.ts";
import type { BudgetPause } from "./budgets.ts";
import type { PaidVisit, LongWait } from "./execution-state.ts";
import type { Tries } from "./failed-try.ts";

/** A run that waits for a budget without a next period tries again after this time: nothing but a raise of the budget would wake it. */
const BUDGET_RECHECK_MS = 7 * 24 * 3_600_000;

/** The wait of a track for a budget that has no room for a call of the try. The try does not count as failed. */
export function waitForBudget(
  { state, track, step, visit }: PaidVisit,
  { count, refused: answered, firstFailedAt, unchargedUsage: usage }: Tries,
  { refused, signals, message }: BudgetPause,
): LongWait {
  const { budget_id, version, rolls_in_ms } = refused;
  const place = { ...placeOf(track), step: step.id, visit };
  const wait_id = `${stepPath(track, step.id)}:${visit}:budget:${state.runLog.knownSeq}`;
  const failed = { code: "budget_exceeded", message };
  const tried =
    count === 1 || firstFailedAt === null
      ? null
      : { ...place, reason: "retry" as const, tries: count - 1, answered, error: failed };
  return {
    is: "wait",
    status: "paused",
    afterMs: rolls_in_ms ?? BUDGET_RECHECK_MS,
    park: {
      ...place,
      reason: "budget",
      wait_id,
      budget_id,
      cost_micro_usd: costOf(usage),
      retry: tried && { ...tried, cost_micro_usd: 0, first_failed_at: firstFailedAt ?? "", wait_ms: 0 },
    },
    waits: [
      {
        wait_id,
        step_id: step.id,
        kind: "budget",
        prompt: message,
        fields: JSON.stringify({ budget_id, version } satisfies BudgetWait),
        deadline_ms: null,
        child_run_id: null,
      },
    ],
    signals,
    events: [
      inTrack(track, {
        type: "budget_reached",
        ...namesOf(step),
        budget_id,
        action: "pause",
        message,
        model: null,
      }),
    ],
    usage,
  };
}
