import { edgesOf } from "./edges.ts";
import type { FieldError } from "../../errors.ts";
import type { OrchestrationDocument } from "./orchestration.ts";
import type { Step } from "./step.ts";

/** Steps that cannot be reached from the entry step: most often a target is wrong. */
export function unreachableSteps({ entry_step_id, steps }: OrchestrationDocument): FieldError[] {
  const byId = new Map(steps.map((step) => [step.id, step]));
  const reached = new Set<string>();
  const pending = [entry_step_id];
  for (let id = pending.pop(); id !== undefined; id = pending.pop()) {
    const step = byId.get(id);
    if (step === undefined || reached.has(id)) continue;
    reached.add(id);
    pending.push(...edgesOf(step).map((edge) => edge.target));
  }
  return steps.flatMap((step, index) =>
    reached.has(step.id) || !byId.has(entry_step_id)
      ? []
      : [
          {
            path: `steps[${index}]`,
            message: `"${step.id}" cannot be reached from the entry step: lead to it, or remove it`,
          },
        ],
  );
}

/**
 * Steps of cycles that only `max_total_turns` would end. In the long run the run skips every step with a
 * `max_iterations`, and goes to its `next_step_id` instead. A cycle that then remains consists of steps without a
 * limit and never ends.
 */
export function endlessCycles(steps: readonly Step[]): FieldError[] {
  const byId = new Map(steps.map((step) => [step.id, step]));
  const arrivals = new Map<string, string | null>();
  /** The step at which a run arrives from `id` when it skips all steps with a limit; null: it ends. */
  const afterSkips = (id: string): string | null => {
    const known = arrivals.get(id);
    if (known !== undefined) return known;
    const arrival = arrivalFrom(id);
    arrivals.set(id, arrival);
    return arrival;
  };
  const arrivalFrom = (id: string): string | null => {
    const skipped = new Set<string>();
    for (let at: string | null = id; at !== null && !skipped.has(at);) {
      const step = byId.get(at);
      if (step === undefined || step.type === "end") return null;
      if (step.max_iterations === 0) return at;
      skipped.add(at);
      at = step.next_step_id ?? null;
    }
    return null;
  };
  const returnsTo = (start: Step): boolean => {
    const seen = new Set<string>();
    const pending = edgesOf(start).map((edge) => afterSkips(edge.target));
    for (let id = pending.pop(); id !== undefined; id = pending.pop()) {
      if (id === start.id) return true;
      const step = id === null ? undefined : byId.get(id);
      if (step === undefined || seen.has(step.id)) continue;
      seen.add(step.id);
      pending.push(...edgesOf(step).map((edge) => afterSkips(edge.target)));
    }
    return false;
  };
  return steps.flatMap((step, index) =>
    step.max_iterations === 0 && returnsTo(step)
      ? [
          {
            path: `steps[${index}].max_iterations`,
            message: `"${step.id}" is in a cycle that never ends: set max_iterations above 0`,
          },
        ]
      : [],
  );
}

/**
 * Steps from which no path leads to an end: a run that comes there goes round until `max_iterations` or `max_total_turns`
 * fails it.
 */
export function stepsWithoutEnd(steps: readonly Step[]): FieldError[] {
  const cameFrom = new Map<string, Step[]>();
  for (const step of steps) {
    for (const { target } of edgesOf(step)) {
      const sources = cameFrom.get(target);
      if (sources === undefined) cameFrom.set(target, [step]);
      else sources.push(step);
    }
  }
  const ending = new Set<Step>();
  const pending = steps.filter(canEnd);
  for (let step = pending.pop(); step !== undefined; step = pending.pop()) {
    if (ending.has(step)) continue;
    ending.add(step);
    pending.push(...(cameFrom.get(step.id) ?? []));
  }
  return steps.flatMap((step, index) =>
    ending.has(step)
      ? []
      : [{ path: `steps[${index}]`, message: `no path leads from "${step.id}" to an end of the run` }],
  );
}

const isOpen = (target: string | null | undefined): boolean => target === null || target === undefined;

/** Whether a run may end after this step. Where a branch has no target, it ends with `no_route`. */
function canEnd(step: Step): boolean {
  switch (step.type) {
    case "end":
      return true;
    case "human":
      return isOpen(step.next_step_id) || (step.on_timeout === "route" && step.timeout_step_id === null);
    case "evaluator":
      return [step.next_step_id, ...Object.values(step.route_map)].includes(null);
    case "if_else":
      return step.next_step_id === null || isOpen(step.if_true_step_id) || isOpen(step.if_false_step_id);
    case "switch":
      return (
        [step.next_step_id, ...Object.values(step.switch_cases)].includes(null) ||
        isOpen(step.switch_default_step_id)
      );
    default:
      return isOpen(step.next_step_id);
  }
}
