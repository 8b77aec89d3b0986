import { pathInState } from "../../../shared/contracts/definition/index.ts";
import type { StepOf } from "../../../shared/contracts/definition/index.ts";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import { childResult } from "../child-result.ts";
import { renderTemplate } from "../render-template.ts";
import { valueAt } from "../run-state.ts";
import { TerminalError } from "../step-errors.ts";
import type { Executor, StepContext } from "../ports.ts";

/**
 * Runs another orchestration as a run of its own, and takes its response. While that run goes on this one occupies no worker,
 * unless another branch of it moves.
 */
export const orchestration: Executor<"orchestration"> = async (step, context) => {
  const message = step.input.trim() === "" ? context.message : await renderTemplate(step.input, context);
  const timeoutMs = step.timeout_seconds === null ? null : step.timeout_seconds * 1_000;
  const request = {
    orchestrationId: step.orchestration_id,
    message,
    state: await stateOf(step, context),
    timeoutMs,
  };
  return childResult(step, request, step.on_child_error, context);
};

/** The values that the child begins with. Those of `input_keys` that are large stay references: the child is of the same tenant. */
async function stateOf(step: StepOf<"orchestration">, context: StepContext): Promise<JsonObject> {
  const state: JsonObject = {};
  for (const key of step.input_keys) {
    const value = ownValue(context.state, key);
    if (value !== undefined) state[key] = value;
  }
  for (const [key, place] of Object.entries(step.child_state)) {
    const [name = "", ...path] = pathInState(place);
    const value =
      path.length === 0
        ? ownValue(context.state, name)
        : await valueAt(context.state, [name, ...path], context.load);
    if (value === undefined)
      throw new TerminalError("child_state", `child_state.${key}: this run's state has no ${place}`);
    state[key] = value;
  }
  return state;
}

/** The value of a key, but nothing that every object has, such as `constructor`. */
function ownValue(state: JsonObject, key: string): Json | undefined {
  return Object.hasOwn(state, key) ? state[key] : undefined;
}
