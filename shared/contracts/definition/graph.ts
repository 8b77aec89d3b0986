import { edgesOf } from "./edges.ts";
import { endlessCycles, unreachable } from "./walks.ts";
import { placesOf } from "./template.ts";
import { templateOf } from "./step.ts";
import type { FieldError } from "../../errors.ts";
import type { OrchestrationDocument } from "./orchestration.ts";
import type { AnyStep } from "./step.ts";

/** Keys of state that every run has, or that the engine fills in: no step may take them for its output. */
const RESERVED: ReadonlySet<string> = new Set(["user_input", "user_query", "human_response"]);

/**
 * What is wrong with an orchestration as a graph, with the path to each field, in the order of the steps. Expects a
 * document whose single fields have been parsed. Pure and linear, but for the walk of loops (steps × edges).
 */
export function validateGraph(orchestration: OrchestrationDocument): FieldError[] {
  return [
    ...entryErrors(orchestration),
    ...duplicateIds(orchestration.steps),
    ...orchestration.steps.flatMap((step, index) => stepErrors(step, `steps[${index}]`, orchestration)),
    ...unreachable(orchestration),
    ...endlessCycles(orchestration.steps),
  ];
}

function entryErrors({ entry_step_id, steps }: OrchestrationDocument): FieldError[] {
  if (steps.some((step) => step.id === entry_step_id)) return [];
  return [{ path: "entry_step_id", message: `there is no step "${entry_step_id}"` }];
}

function duplicateIds(steps: readonly AnyStep[]): FieldError[] {
  const seen = new Set<string>();
  return steps.flatMap((step, index) => {
    if (seen.has(step.id))
      return [{ path: `steps[${index}].id`, message: `another step has the id "${step.id}"` }];
    seen.add(step.id);
    return [];
  });
}

function stepErrors(step: AnyStep, path: string, orchestration: OrchestrationDocument): FieldError[] {
  const ids = new Set(orchestration.steps.map((other) => other.id));
  const unknownTargets = edgesOf(step)
    .filter((edge) => !ids.has(edge.target))
    .map((edge) => ({ path: `${path}.${edge.field}`, message: `there is no step "${edge.target}"` }));
  return [
    ...unknownTargets,
    ...missingFields(step, path),
    ...reservedOutput(step, path),
    ...unknownKeys(step, path, orchestration),
  ];
}

function missingFields(step: AnyStep, path: string): FieldError[] {
  const missing = (field: string, message: string) => [{ path: `${path}.${field}`, message }];
  switch (step.type) {
    case "evaluator":
      if (Object.keys(step.route_map).length === 0) {
        return missing("route_map", "an evaluator must have at least one route");
      }
      if (step.default_route !== null && !Object.hasOwn(step.route_map, step.default_route)) {
        return missing("default_route", `"${step.default_route}" is not a label of route_map`);
      }
      return [];
    case "extract_json":
    case "merge":
      return step.input_keys.length > 0
        ? []
        : missing("input_keys", `a step of type ${step.type} must read a key`);
    case "parallel":
      return step.parallel_branches.length > 0 ? [] : missing("parallel_branches", "must have a branch");
    case "loop":
      return step.loop_step_ids.length > 0 ? [] : missing("loop_step_ids", "must name a step to repeat");
    case "human":
      return step.human_prompt !== "" ? [] : missing("human_prompt", "a human step must say what it asks");
    default:
      return [];
  }
}

function reservedOutput(step: AnyStep, path: string): FieldError[] {
  const key = step.output_key;
  if (key === null || (!key.startsWith("_") && (!RESERVED.has(key) || step.type === "human"))) return [];
  return [{ path: `${path}.output_key`, message: `"${key}" is reserved: choose another key` }];
}

/** A template may read what something provides: the schema, a step's output, what the engine keeps, or a key that a step declares as its input. */
function unknownKeys(
  step: AnyStep,
  path: string,
  { state_schema, steps }: OrchestrationDocument,
): FieldError[] {
  const source = templateOf(step);
  if (source === null) return [];
  const known = new Set([...RESERVED, ...Object.keys(state_schema)]);
  for (const other of steps) {
    for (const key of [...other.input_keys, ...providedBy(other)]) known.add(key);
  }
  const keys = placesOf(source.template).flatMap((place) =>
    place.path === "input" ? [] : place.path.slice(0, 1),
  );
  return [...new Set(keys)]
    .filter((key) => !known.has(key))
    .map((key) => ({
      path: `${path}.${source.field}`,
      message: `nothing provides {state.${key}}: no state_schema, input_keys or output_key has "${key}"`,
    }));
}

function providedBy(step: AnyStep): string[] {
  const output = step.output_key === null ? [] : [step.output_key];
  switch (step.type) {
    case "evaluator":
      return [...output, `_routing_decision_${step.id}`, `_routing_reasoning_${step.id}`];
    case "if_else":
      return [...output, `_if_decision_${step.id}`];
    case "switch":
      return [...output, `_switch_decision_${step.id}`];
    default:
      return output;
  }
}
