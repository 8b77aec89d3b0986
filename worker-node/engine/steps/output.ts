import type { Step } from "../../../shared/contracts/definition/index.ts";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";

/** `value` under the step's `output_key`, if it has one. */
export function output(step: Step, value: Json): JsonObject {
  return step.output_key === null ? {} : { [step.output_key]: value };
}
