import { namesOf } from "../events.ts";
import { outputOf, stateForCode } from "../run-state.ts";
import type { PureExecutor } from "../ports.ts";

/** Runs `transform_code`, which reads `state` and sets `result`. An error in the code fails the step. */
export const transform: PureExecutor<"transform"> = async (step, context) => {
  const result = await context.sandbox.transform(
    step.transform_code,
    await stateForCode(step, context),
    await context.loopVariables(),
  );
  return {
    set: outputOf(step, result),
    events: [{ type: "transform_result", ...namesOf(step), result }],
    usage: [],
    response: result,
    effects: [],
  };
};
