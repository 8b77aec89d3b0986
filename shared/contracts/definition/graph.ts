import { suggestions } from "../../text/nearest-name.ts";
import { stepsInLoops, stepsWithItem } from "./branches.ts";
import { branchErrors } from "./branch-errors.ts";
import { edgesOf } from "./edges.ts";
import { endlessCycles, unreachableSteps } from "./walks.ts";
import { misspelledPlaceholdersIn, placeholdersOf } from "./template.ts";
import { templateOf } from "./step.ts";
import { waitError } from "./wait-times.ts";
import type { FieldError } from "../../errors.ts";
import type { Suggest } from "../../text/nearest-name.ts";
import type { OrchestrationDocument } from "./orchestration.ts";
import type { Step } from "./step.ts";

/** Keys of state that every run has, or that the engine fills in. No step may write its output to them. */
const RESERVED: ReadonlySet<string> = new Set(["user_input", "user_query", "human_response"]);

/** Keys of state that a run begins with: its files, the body that fired its trigger, the tick of its schedule. */
const FROM_START = ["attachments", "trigger", "schedule"];

/**
 * Checks an orchestration as a graph and returns its errors in the order of the steps, each with the path to its
 * field. The document's fields have been parsed before. Pure; its time is linear, except for the search of cycles
 * (steps × edges).
 */
export function validateGraph(orchestration: OrchestrationDocument): FieldError[] {
  const suggest = suggestions();
  const known = {
    ids: new Set(orchestration.steps.map(({ id }) => id)),
    keys: knownStateKeys(orchestration),
    suggest,
  };
  return [
    ...entryErrors(orchestration, suggest),
    ...duplicateIds(orchestration.steps),
    ...orchestration.steps.flatMap((step, index) => stepErrors(step, `steps[${index}]`, known)),
    ...branchErrors(orchestration),
    ...unreachableSteps(orchestration),
    ...endlessCycles(orchestration.steps),
  ];
}

function entryErrors({ entry_step_id, steps }: OrchestrationDocument, suggest: Suggest): FieldError[] {
  if (steps.some((step) => step.id === entry_step_id)) return [];
  const ids = steps.map(({ id }) => id);
  return [{ path: "entry_step_id", message: noStep(entry_step_id, ids, suggest) }];
}

function noStep(id: string, ids: Iterable<string>, suggest: Suggest): string {
  return `there is no step "${id}"${suggest(id, ids) || ": it must be the id of one of the steps"}`;
}

function duplicateIds(steps: readonly Step[]): FieldError[] {
  const seen = new Set<string>();
  return steps.flatMap((step, index) => {
    if (seen.has(step.id))
      return [
        { path: `steps[${index}].id`, message: `another step has the id "${step.id}": ids must be unique` },
      ];
    seen.add(step.id);
    return [];
  });
}

/** What all steps of a definition share. `keys`: the keys of state that its templates may read. */
type Known = { ids: ReadonlySet<string>; keys: ReadonlySet<string>; suggest: Suggest };

function stepErrors(step: Step, path: string, { ids, keys, suggest }: Known): FieldError[] {
  const unknownTargets = edgesOf(step)
    .filter((edge) => !ids.has(edge.target))
    .map((edge) => ({
      path: `${path}.${edge.field}`,
      message: noStep(edge.target, ids, suggest),
    }));
  return [
    ...unknownTargets,
    ...missingFields(step, path, suggest),
    ...reservedOutput(step, path),
    ...unknownKeys(step, path, keys, suggest),
  ];
}

function missingFields(step: Step, path: string, suggest: Suggest): FieldError[] {
  const missing = (field: string, message: string) => [{ path: `${path}.${field}`, message }];
  switch (step.type) {
    case "evaluator":
      if (Object.keys(step.route_map).length === 0) {
        return missing("route_map", "must have at least one route for an evaluator step");
      }
      if (step.default_route !== null && !Object.hasOwn(step.route_map, step.default_route)) {
        return missing(
          "default_route",
          `"${step.default_route}" is not in route_map${suggest(step.default_route, Object.keys(step.route_map)) || ": it must be one of its labels"}`,
        );
      }
      return [];
    case "extract_json":
    case "merge":
      return step.input_keys.length > 0
        ? []
        : missing("input_keys", `must name at least one key for a step of type ${step.type}`);
    case "parallel":
      return step.parallel_branches.length > 0
        ? []
        : missing("parallel_branches", "must have at least one branch");
    case "loop":
      return step.loop_step_ids.length > 0
        ? []
        : missing("loop_step_ids", "must name at least one step to repeat");
    case "human":
      return step.human_prompt !== ""
        ? []
        : missing("human_prompt", "is required: a human step must have a question");
    case "wait": {
      const error = waitError(step);
      return error === null ? [] : missing(error.field, error.message);
    }
    default:
      return [];
  }
}

function reservedOutput(step: Step, path: string): FieldError[] {
  const key = step.output_key;
  // A human step writes human_response in any case.
  const isOwn = step.type === "human" && key === "human_response";
  if (key === null || isOwn || (!key.startsWith("_") && !RESERVED.has(key))) return [];
  return [
    {
      path: `${path}.output_key`,
      message: `"${key}" is reserved: use a key that does not begin with _ and is none of ${[...RESERVED].join(", ")}`,
    },
  ];
}

/**
 * A template may read keys of the schema, outputs and declared inputs of steps, and keys that the engine fills in.
 */
function unknownKeys(step: Step, path: string, known: ReadonlySet<string>, suggest: Suggest): FieldError[] {
  const source = templateOf(step);
  if (source === null) return [];
  const keys = placeholdersOf(source.template).flatMap((placeholder) =>
    placeholder.of === "state" ? placeholder.path.slice(0, 1) : [],
  );
  return [...new Set(keys)]
    .filter((key) => !known.has(key))
    .map((key) => ({
      path: `${path}.${source.field}`,
      message: `{state.${key}} is never set${suggest(key, known) || `: add "${key}" to state_schema, or to a step's output_key or input_keys`}`,
    }));
}

/** The keys of state that a definition names: of its schema, of the outputs and inputs of its steps, and those of the engine. */
export function knownStateKeys(orchestration: OrchestrationDocument): ReadonlySet<string> {
  return new Set([
    ...stateKeysSetBy(orchestration),
    ...orchestration.steps.flatMap(({ input_keys }) => input_keys),
  ]);
}

/** The keys of state that a definition sets: of its schema, outputs of its steps, and those of the engine and of a run's start. */
export function stateKeysSetBy({ state_schema, steps }: OrchestrationDocument): ReadonlySet<string> {
  return new Set([...RESERVED, ...FROM_START, ...Object.keys(state_schema), ...steps.flatMap(providedBy)]);
}

/** Errors for misspelled placeholders, at most five for each step: each would be sent as text. */
export function misspelledPlaceholderErrors({ steps }: OrchestrationDocument): FieldError[] {
  return steps.flatMap((step, index) => {
    const source = templateOf(step);
    if (source === null) return [];
    return [...new Set(misspelledPlaceholdersIn(source.template))].slice(0, 5).map((place) => ({
      path: `steps[${index}].${source.field}`,
      message: `${place} is almost a placeholder: write {input}, or {state.key} with the parts of a path divided by dots`,
    }));
  });
}

/** An error for each template in a loop that reads an item which no loop around its step has: it would fail in each iteration. */
export function missingItemErrors({ steps }: OrchestrationDocument): FieldError[] {
  const [inLoops, withItem] = [stepsInLoops(steps), stepsWithItem(steps)];
  return steps.flatMap((step, index) => {
    const source = inLoops.has(step.id) && !withItem.has(step.id) ? templateOf(step) : null;
    if (source === null) return [];
    const read = placeholdersOf(source.template, true).find(
      ({ of, path }) => of === "loop" && path[0] === "item",
    );
    if (read === undefined) return [];
    const place = source.template.slice(read.from, read.to);
    return [
      {
        path: `steps[${index}].${source.field}`,
        message: `reads ${place}, which no iteration has: give a loop around "${step.id}" a for_each, or read {index}`,
      },
    ];
  });
}

function providedBy(step: Step): string[] {
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
