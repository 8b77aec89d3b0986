import { visitsOf } from "../../shared/journal/fold.ts";
import type { Orchestration, Step } from "../../shared/contracts/definition/index.ts";
import type { RunEvent } from "../../shared/contracts/event.ts";
import type { Progress } from "../../shared/journal/fold.ts";

export function stepOf(definition: Orchestration, id: string): Step | undefined {
  return definition.steps.find((step) => step.id === id);
}

/**
 * Where the run really goes when a step leads to `target`: a step that has its `max_iterations` results already is
 * passed by, towards its `next_step_id`, and so on. Steps that have all been passed by once lead to the end. `progress`
 * counts the result that leads there. Each step passed by is told in a `loop_limit_reached`.
 */
export function guarded(
  definition: Orchestration,
  progress: Progress,
  target: string | null,
): { target: string | null; events: RunEvent[] } {
  const events: RunEvent[] = [];
  const passed = new Set<string>();
  let at = target;
  while (at !== null && !passed.has(at)) {
    const step = stepOf(definition, at);
    const visits = visitsOf(progress, at);
    if (step === undefined || step.max_iterations === 0 || visits < step.max_iterations) {
      return { target: at, events };
    }
    events.push({
      type: "loop_limit_reached",
      orch_step_id: at,
      iterations: visits,
      max_iterations: step.max_iterations,
    });
    passed.add(at);
    at = step.next_step_id;
  }
  return { target: null, events };
}
