import { branchOfSteps } from "./branches.ts";
import type { Branch } from "./branches.ts";
import type { Orchestration } from "./orchestration.ts";
import type { Step } from "./step.ts";

/**
 * The orchestration as the engine executes it: in branches, every edge leads where its track really goes. A step of a list
 * leads to the next one of the list, and every edge out of its branch is null: the end of the track.
 */
export function layOut(orchestration: Orchestration): Orchestration {
  const branches = branchOfSteps(orchestration.steps);
  if (branches.size === 0) return orchestration;
  const steps = orchestration.steps.map((step) => {
    const branch = branches.get(step.id);
    return branch === undefined ? step : withinBranch(step, branch);
  });
  return { ...orchestration, steps };
}

function withinBranch(step: Step, { fork, isList, steps }: Branch): Step {
  const within = (target: string | null | undefined): string | null | undefined =>
    typeof target === "string" && target === fork.next_step_id ? null : target;
  const table = (targets: { [label: string]: string | null }) =>
    Object.fromEntries(Object.entries(targets).map(([label, target]) => [label, within(target) ?? null]));
  const next = isList ? (steps[steps.indexOf(step.id) + 1] ?? null) : within(step.next_step_id);
  const moved = { ...step, next_step_id: next };
  switch (moved.type) {
    case "evaluator":
      return { ...moved, route_map: table(moved.route_map) };
    case "switch":
      return {
        ...moved,
        switch_cases: table(moved.switch_cases),
        switch_default_step_id: within(moved.switch_default_step_id),
      };
    case "human":
      return { ...moved, timeout_step_id: within(moved.timeout_step_id) };
    case "if_else":
      return {
        ...moved,
        if_true_step_id: within(moved.if_true_step_id),
        if_false_step_id: within(moved.if_false_step_id),
      };
    default:
      return moved;
  }
}
