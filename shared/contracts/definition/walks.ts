import { edgesOf } from "./edges.ts";
import type { FieldError } from "../../errors.ts";
import type { OrchestrationDocument } from "./orchestration.ts";
import type { AnyStep } from "./step.ts";

/** Steps that no way leads to: a mistake in a target more often than a wish. */
export function unreachable({ entry_step_id, steps }: OrchestrationDocument): FieldError[] {
  const byId = new Map(steps.map((step) => [step.id, step]));
  const reached = new Set<string>();
  const open = [entry_step_id];
  for (let id = open.pop(); id !== undefined; id = open.pop()) {
    const step = byId.get(id);
    if (step === undefined || reached.has(id)) continue;
    reached.add(id);
    open.push(...edgesOf(step).map((edge) => edge.target));
  }
  return steps.flatMap((step, index) =>
    reached.has(step.id) || !byId.has(entry_step_id)
      ? []
      : [{ path: `steps[${index}]`, message: `no way leads from the entry step to "${step.id}"` }],
  );
}

/**
 * Cycles that only `max_total_turns` would stop. In the long run every step with a `max_iterations` is used up and
 * passed by, towards its `next_step_id`; a cycle that is then still there, of steps without a limit, has no bound.
 */
export function endlessCycles(steps: readonly AnyStep[]): FieldError[] {
  const byId = new Map(steps.map((step) => [step.id, step]));
  const settled = (id: string): string | null => {
    const passed = new Set<string>();
    for (let at: string | null = id; at !== null && !passed.has(at);) {
      const step = byId.get(at);
      if (step === undefined || step.type === "end") return null;
      if (step.max_iterations === 0) return at;
      passed.add(at);
      at = step.next_step_id;
    }
    return null;
  };
  const comesBack = (start: AnyStep): boolean => {
    const seen = new Set<string>();
    const open = edgesOf(start).map((edge) => settled(edge.target));
    for (let id = open.pop(); id !== undefined; id = open.pop()) {
      if (id === start.id) return true;
      const step = id === null ? undefined : byId.get(id);
      if (step === undefined || seen.has(step.id)) continue;
      seen.add(step.id);
      open.push(...edgesOf(step).map((edge) => settled(edge.target)));
    }
    return false;
  };
  return steps.flatMap((step, index) =>
    step.max_iterations === 0 && comesBack(step)
      ? [
          {
            path: `steps[${index}].max_iterations`,
            message: `"${step.id}" is in a cycle that nothing ends: give it a limit`,
          },
        ]
      : [],
  );
}
