import { visitsOf } from "../../shared/journal/fold.ts";
import type { Orchestration, Step } from "../../shared/contracts/definition/index.ts";
import type { RunEvent } from "../../shared/contracts/event.ts";
import type { Progress } from "../../shared/journal/fold.ts";

export function stepOf(definition: Orchestration, id: string): Step | undefined {
  return definition.steps.find((step) => step.id === id);
}

/** Whether a step has had all the results that its `max_iterations` allows. */
export function isUsedUp(step: Step, visits: number): boolean {
  return step.max_iterations !== 0 && visits >= step.max_iterations;
}

/**
 * Where the run really goes when a step leads to `target`. A step that already has its `max_iterations` results is
 * skipped: the run goes to its `next_step_id` instead, and so on. When that is null the run ends there. When it is absent,
 * or leads only to steps that are skipped, the target is the last of them, and the run fails: a loop that its limit ended
 * has not reached what it was for. Each skipped step has an event `loop_limit_reached`. `progress` includes the result that
 * leads to `target`.
 */
export function applyLoopLimits(
  definition: Orchestration,
  progress: Progress,
  target: string | null,
): { target: string | null; events: RunEvent[] } {
  const events: RunEvent[] = [];
  const skipped = new Set<string>();
  let current = target;
  while (current !== null && !skipped.has(current)) {
    const step = stepOf(definition, current);
    const visits = visitsOf(progress, current);
    if (step === undefined || !isUsedUp(step, visits)) break;
    events.push({
      type: "loop_limit_reached",
      orch_step_id: current,
      iterations: visits,
      max_iterations: step.max_iterations,
    });
    skipped.add(current);
    if (step.next_step_id === undefined) break;
    current = step.next_step_id;
  }
  return { target: current, events };
}
