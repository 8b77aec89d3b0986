import { named } from "../events.ts";
import { loadAll } from "../run-state.ts";
import { output } from "./output.ts";
import type { Executor } from "./executor.ts";

/** Runs `transform_code`, which reads `state` and sets `result`. Code that fails fails the step. */
export const transform: Executor<"transform"> = async (step, context) => {
  const result = await context.sandbox.transform(
    step.transform_code,
    await loadAll(context.state, context.load),
  );
  return {
    set: output(step, result),
    events: [{ type: "transform_result", ...named(step), result }],
    usage: [],
    response: result,
    effects: [],
  };
};
