import { branchOfSteps } from "./branches.ts";
import type { Branch } from "./branches.ts";
import type { Orchestration } from "./orchestration.ts";
import type { Step, StepOf } from "./step.ts";

type Target = string | null | undefined;

/**
 * The orchestration as the engine executes it: every edge leads where its track really goes. In branches, a step of a list leads to the
 * next one of the list, and every edge out of its branch is null: the end of the track. A target of an if_else that is absent or null is
 * the step that follows it, if one does.
 */
export function layOut(orchestration: Orchestration): Orchestration {
  const branches = branchOfSteps(orchestration.steps);
  const steps = orchestration.steps.map((step) => {
    const branch = branches.get(step.id);
    if (branch !== undefined) return withinBranch(step, branch);
    return step.type === "if_else" ? withTargets(step, step.next_step_id, (target) => target) : step;
  });
  return { ...orchestration, steps };
}

function withinBranch(step: Step, { fork, isList, steps }: Branch): Step {
  const within = (target: Target): Target =>
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
      return withTargets(moved, next, within);
    default:
      return moved;
  }
}

/** An if_else whose targets are the steps to which its track goes. @param next the step that follows it */
function withTargets(
  step: StepOf<"if_else">,
  next: Target,
  within: (target: Target) => Target,
): StepOf<"if_else"> {
  const targetOf = (written: Target): Target => {
    if (typeof written === "string") return within(written);
    return written === undefined ? next : (next ?? null);
  };
  return {
    ...step,
    if_true_step_id: targetOf(step.if_true_step_id),
    if_false_step_id: targetOf(step.if_false_step_id),
  };
}
