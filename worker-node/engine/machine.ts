import { apply, visitsOf } from "../../shared/journal/fold.ts";
import { guarded, stepOf } from "./routing.ts";
import { named } from "./events.ts";
import type { Orchestration, Step } from "../../shared/contracts/definition/index.ts";
import type { RunEvent } from "../../shared/contracts/event.ts";
import type { Checkpoint, Usage } from "../../shared/contracts/journal-entry.ts";
import type { Progress } from "../../shared/journal/fold.ts";
import type { StepResult } from "./ports.ts";

/** What a run does next. `visit` counts the results of a step from 1. */
export type Next =
  | { do: "step"; step: Step; visit: number }
  | { do: "end"; status: "completed" }
  | { do: "end"; status: "failed"; error: { code: string; message: string; step_id: string | null } };

/** What a run that has come as far as `progress` does next. The only place that decides it. */
export function next(definition: Orchestration, progress: Progress): Next {
  const id = progress.next === undefined ? definition.entry_step_id : progress.next;
  if (id === null) return { do: "end", status: "completed" };
  const step = stepOf(definition, id);
  if (step === undefined) return failed("unknown_step", `the definition has no step "${id}"`);
  if (progress.history.length >= definition.max_total_turns) {
    return failed(
      "max_total_turns",
      `the run has had its ${definition.max_total_turns} turns and is not at its end`,
    );
  }
  const limit = definition.max_total_cost_usd;
  if (limit !== null && costOf(progress) >= limit * 1_000_000) {
    return failed("max_total_cost", `the run has spent its ${limit} USD and is not at its end`);
  }
  return { do: "step", step, visit: visitsOf(progress, id) + 1 };
}

function failed(code: string, message: string): Next {
  return { do: "end", status: "failed", error: { code, message, step_id: null } };
}

function costOf(progress: Progress): number {
  return progress.history.reduce((sum, result) => sum + result.cost_micro_usd, 0);
}

/** How a visit went: when its first try of this attempt began, how long it took, and what its turns had used already. */
export type Timing = {
  startedAt: string;
  durationMs: number;
  tries: number;
  /** Usage that turns of this visit have reported: `usageOfTurn` of each. */
  turnUsage: readonly Usage[];
};

/**
 * The checkpoint of a visit that has come to `result`, and the events that are committed with it, in their order.
 * Its `next` is where the run really goes: loop guards have been asked.
 */
export function settle(
  definition: Orchestration,
  progress: Progress,
  step: Step,
  visit: number,
  result: StepResult,
  timing: Timing,
): { checkpoint: Checkpoint; events: RunEvent[] } {
  const usage = [...timing.turnUsage, ...result.usage];
  const checkpoint: Checkpoint = {
    step: step.id,
    visit,
    type: step.type,
    name: step.name,
    set: result.set,
    next: null,
    output_key: step.output_key,
    started_at: timing.startedAt,
    duration_ms: Math.round(timing.durationMs),
    tries: timing.tries,
    tokens: usage.reduce((sum, call) => sum + call.input_tokens + call.output_tokens, 0),
    cost_micro_usd: usage.reduce((sum, call) => sum + call.cost_micro_usd, 0),
    effects: [...result.effects],
  };
  const wanted = result.ends ? null : result.route ? result.route.target : step.next_step_id;
  const guard = guarded(definition, apply(progress, checkpoint), wanted);
  const seconds = Math.round(timing.durationMs / 10) / 100;
  return {
    checkpoint: { ...checkpoint, next: guard.target },
    events: [
      ...result.events,
      { type: "step_complete", ...named(step), duration_seconds: seconds },
      ...(result.after ?? []),
      ...guard.events,
    ],
  };
}
