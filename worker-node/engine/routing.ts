import { visitsOf } from "../../shared/journal/fold.ts";
import type { Orchestration, Step } from "../../shared/contracts/definition/index.ts";
import type { RunEvent } from "../../shared/contracts/event.ts";
import type { Progress } from "../../shared/journal/fold.ts";

export function stepOf(definition: Orchestration, id: string): Step | undefined {
  return definition.steps.find((step) => step.id === id);
}

/**
 * Where the run really goes when a step leads to `target`. A step that already has its `max_iterations` results is
 * skipped: the run goes to its `next_step_id` instead, and so on. When skipped steps lead only to each other, the run
 * ends. Each skipped step has an event `loop_limit_reached`. `progress` includes the result that leads to `target`.
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
    if (step === undefined || step.max_iterations === 0 || visits < step.max_iterations) {
      return { target: current, events };
    }
    events.push({
      type: "loop_limit_reached",
      orch_step_id: current,
      iterations: visits,
      max_iterations: step.max_iterations,
    });
    skipped.add(current);
    current = step.next_step_id;
  }
  return { target: null, events };
}
