import { suggestions } from "../../text/nearest-name.ts";
import type { FieldError } from "../../errors.ts";
import { branchOfSteps } from "./branches.ts";
import { isObject } from "../json.ts";
import { isFork } from "./step.ts";
import type { Json } from "../json.ts";
import type { OrchestrationDocument } from "./orchestration.ts";

/** The types of keys of state, and the defaults that each may have. Any value can be rendered as text. */
const STATE_TYPES: { [type: string]: (value: Json) => boolean } = {
  string: () => true,
  any: () => true,
  number: (value) => typeof value === "number",
  integer: (value) => Number.isInteger(value),
  boolean: (value) => typeof value === "boolean",
  list: (value) => Array.isArray(value),
  array: (value) => Array.isArray(value),
  dict: isObject,
  object: isObject,
};

/** Values in known fields that would have no effect: types that do not exist, and descriptions of routes that do not. */
export function unreadValues({ state_schema, steps }: OrchestrationDocument): FieldError[] {
  const suggest = suggestions();
  const ofState = Object.entries(state_schema).flatMap(([key, field]) => {
    const isOfType = Object.hasOwn(STATE_TYPES, field.type) ? STATE_TYPES[field.type] : undefined;
    const types = Object.keys(STATE_TYPES);
    if (isOfType === undefined) {
      const hint = suggest(field.type, types) || `: the types are ${types.join(", ")}`;
      return [
        { path: `state_schema.${key}.type`, message: `"${field.type}" is no type of a key of state${hint}` },
      ];
    }
    const value = field.default ?? null;
    if (value === null || isOfType(value)) return [];
    return [{ path: `state_schema.${key}.default`, message: `is no ${field.type}, the type of this key` }];
  });
  const ofRoutes = steps.flatMap((step, index) => {
    if (step.type !== "evaluator") return [];
    const labels = Object.keys(step.route_map);
    const ofDescriptions = Object.keys(step.route_descriptions)
      .filter((label) => !labels.includes(label))
      .map((label) => ({
        path: `steps[${index}].route_descriptions.${label}`,
        message: `describes no route: "${label}" is not in route_map${suggest(label, labels)}`,
      }));
    const ofLabels = labels.flatMap((label, i) => {
      const message = labelError(label, labels.slice(0, i));
      return message === null ? [] : [{ path: `steps[${index}].route_map.${label}`, message }];
    });
    return [...ofLabels, ...ofDescriptions];
  });
  return [...ofState, ...ofRoutes];
}

/** The `loop_count` of a step that names none. */
const DEFAULT_ROUNDS = 3;

/** The `retry` of a step that has none. */
const DEFAULT_RETRY = [3, 1, 60].join();

/** The `cache_response_ttl_seconds` of a step that names none. */
const DEFAULT_CACHE_SECONDS = 3_600;

const NO_ROUTE = "no value has a target: a run that comes here fails with no_route";
const NO_EFFECT = "no value has a target: a run goes on to the step after this one, whatever the value is";

/** The keys of state that are the message of the run. */
const MESSAGE_KEYS = ["user_input", "user_query"];

/** Warnings about fields that have no effect together with others. */
export function unreadWarnings({
  state_schema,
  steps,
}: Pick<OrchestrationDocument, "state_schema" | "steps">): FieldError[] {
  const branches = branchOfSteps(steps);
  const ofState = MESSAGE_KEYS.flatMap((key) => {
    const value = state_schema[key]?.default ?? "";
    const path = `state_schema.${key}.default`;
    return value === "" ? [] : [{ path, message: `is never read: ${key} is the message of the run` }];
  });
  const ofSteps = steps.flatMap((step, index): FieldError[] => {
    const goesOn = step.next_step_id !== undefined || branches.get(step.id)?.isList === true;
    const warning = (field: string, message: string) => ({ path: `steps[${index}].${field}`, message });
    if (
      step.type === "if_else" &&
      step.if_true_step_id === undefined &&
      step.if_false_step_id === undefined
    ) {
      return [warning("if_true_step_id", goesOn ? NO_EFFECT : NO_ROUTE)];
    }
    if (
      step.type === "switch" &&
      step.switch_default_step_id === undefined &&
      Object.keys(step.switch_cases).length === 0
    ) {
      return [warning("switch_cases", goesOn ? NO_EFFECT : NO_ROUTE)];
    }
    if (
      (step.type === "llm" || step.type === "agent" || step.type === "evaluator") &&
      !step.cache_responses_enabled &&
      step.cache_response_ttl_seconds !== DEFAULT_CACHE_SECONDS
    ) {
      return [warning("cache_response_ttl_seconds", "is not read: cache_responses_enabled is false")];
    }
    if (step.type === "wait" && step.output_key !== null) {
      return [warning("output_key", "is never set: a step of type wait has no output")];
    }
    if (isFork(step) && Object.values(step.retry).join() !== DEFAULT_RETRY) {
      const message = `repeats no failed step inside of this one: each of them has its own retry`;
      return [warning("retry", message)];
    }
    if (step.type === "loop" && step.for_each !== null && step.loop_count !== DEFAULT_ROUNDS) {
      return [warning("loop_count", "is not read: for_each has one iteration for each item of its list")];
    }
    if (step.type !== "end") return [];
    return [
      ...((step.next_step_id ?? null) === null
        ? []
        : [warning("next_step_id", "is never followed: the run ends at a step of type end")]),
      ...(step.output_key === null
        ? []
        : [warning("output_key", "is never set: a step of type end has no output")]),
    ];
  });
  return [...ofState, ...ofSteps];
}

/** The error of a label that no model can choose: a model's answer is compared without its letter case and the spaces around it. */
function labelError(label: string, earlier: readonly string[]): string | null {
  if (label.trim() === "") return "has an empty label, which no model can choose";
  if (label.trim() !== label) return `the label ${JSON.stringify(label)} begins or ends with a space`;
  const twin = earlier.find((other) => other.toLowerCase() === label.toLowerCase());
  if (twin === undefined) return null;
  return `differs from the label "${twin}" in letter case only, which a model's answer may not keep`;
}
