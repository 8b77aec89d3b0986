import { TerminalError } from "../step-errors.ts";
import { namesOf } from "../events.ts";
import { outputOf, stateForCode } from "../run-state.ts";
import type { PureExecutor } from "../ports.ts";

/**
 * Chooses a branch by `if_condition`. `layOut` has given a branch without a target the step that follows. Where there is none the step
 * fails with `no_route`; null ends the track.
 */
export const ifElse: PureExecutor<"if_else"> = async (step, context) => {
  const value = await context.sandbox.evaluate(
    step.if_condition,
    await stateForCode(step, context),
    await context.loopVariables(),
  );
  const decision = isTrue(value);
  const target = decision ? step.if_true_step_id : step.if_false_step_id;
  if (target === undefined) {
    throw new TerminalError(
      "no_route",
      `the condition is ${decision}, and no field says where the run goes then`,
    );
  }
  return {
    set: { ...outputOf(step, decision), [`_if_decision_${step.id}`]: String(decision) },
    route: { target },
    events: [],
    after: [
      {
        type: "if_decision",
        ...namesOf(step),
        condition: step.if_condition,
        decision,
        target_step_id: target,
      },
    ],
    usage: [],
    effects: [],
  };
};

/** True as in Python, the language of conditions in imported definitions: an empty list or object is false too. */
function isTrue(value: unknown): boolean {
  if (Array.isArray(value)) return value.length > 0;
  if (typeof value === "object" && value !== null) return Object.keys(value).length > 0;
  return Boolean(value);
}
