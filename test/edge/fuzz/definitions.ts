/** Saves random orchestrations: valid ones, and ones that are valid except for one change. */
import fc from "fast-check";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import { isObject } from "../../../shared/contracts/json.ts";
import { definitionOf } from "../../worker-node/random-definitions/definition.ts";
import { anyPlan } from "../../worker-node/random-definitions/plan.ts";
import type { Plan } from "../../worker-node/random-definitions/plan.ts";
import { bodyOf } from "../app.ts";
import type { TestApp } from "../app.ts";

/** A change that makes any valid definition invalid. `at`: the step or the field that it changes. */
const FAULTS: { [what: string]: (definition: JsonObject, step: JsonObject, at: number) => void } = {
  "a field is missing": (definition, step, at) => {
    const [owner, field] = pick<[JsonObject, string]>(
      [
        [definition, "name"],
        [definition, "entry_step_id"],
        [definition, "steps"],
        [step, "id"],
        [step, "type"],
      ],
      at,
    );
    delete owner[field];
  },
  "a field is unknown": (definition, step, at) => {
    (at % 2 === 0 ? definition : step)[`unknown_${at}`] = at;
  },
  "a field is mistyped": (definition, step, at) => {
    const wrong = pick<Json>([[], { a: 1 }, true], at);
    const [owner, field] = pick<[JsonObject, string]>(
      [
        [definition, "name"],
        [definition, "max_total_turns"],
        [definition, "state_schema"],
        [step, "id"],
        [step, "max_iterations"],
        [step, "next_step_id"],
        [step, "retry"],
        [step, "output_key"],
      ],
      at,
    );
    owner[field] = field === "state_schema" || field === "retry" ? "text" : wrong;
  },
  "a number is beyond its bounds": (_, step, at) => {
    step["max_iterations"] = pick([-1, 1.5, 1_001], at);
  },
  "the type of a step does not exist": (_, step, at) => {
    step["type"] = pick(["python", "", "LLM", "__proto__", "constructor"], at);
  },
  "an edge leads nowhere": (_, step, at) => {
    // What a step of type end names is never followed: the save warns of it.
    if (step["type"] === "end") Object.assign(step, { type: "print", print_content: "x" });
    step["next_step_id"] = pick(["nowhere", "__proto__", "toString"], at);
  },
  "the entry does not exist": (definition) => {
    definition["entry_step_id"] = "nowhere";
  },
  "two steps have one id": (definition, step) => {
    stepsOf(definition).push({ ...step });
  },
  "a step cannot be reached": (definition, _, at) => {
    stepsOf(definition).push({ id: `alone_${at}`, type: "end" });
  },
  "a cycle has no bound": (definition) => {
    const entry = definition["entry_step_id"] ?? null;
    const end = { output_key: null, max_iterations: 0 };
    stepsOf(definition).push({
      id: "round",
      type: "print",
      print_content: "x",
      ...end,
      next_step_id: "round",
    });
    definition["steps"] = [
      ...stepsOf(definition),
      {
        id: "first",
        type: "if_else",
        if_condition: "true",
        if_true_step_id: entry,
        if_false_step_id: "round",
        ...end,
      },
    ];
    definition["entry_step_id"] = "first";
  },
  "a template reads what is never set": (definition) => {
    const first = { id: "first", type: "print", print_content: "{state.never}" };
    stepsOf(definition).push({ ...first, next_step_id: definition["entry_step_id"] ?? null });
    definition["entry_step_id"] = "first";
  },
  "code does not compile": (definition) => {
    const first = { id: "first", type: "transform", transform_code: "result = (" };
    stepsOf(definition).push({ ...first, next_step_id: definition["entry_step_id"] ?? null });
    definition["entry_step_id"] = "first";
  },
  "a branch is in two forks": (definition) => {
    const shared = { id: "shared", type: "print", print_content: "x" };
    const fork = (id: string, next_step_id: Json) => ({
      id,
      type: "loop",
      loop_step_ids: ["shared"],
      next_step_id,
    });
    stepsOf(definition).push(shared, fork("f", "g"), fork("g", definition["entry_step_id"] ?? null));
    definition["entry_step_id"] = "f";
  },
  "an output has a reserved key": (_, step, at) => {
    step["output_key"] = pick(["_own", "user_input", "user_query", "a.b", "__proto__"], at);
  },
};

function stepsOf(definition: JsonObject): Json[] {
  const { steps } = definition;
  if (!Array.isArray(steps)) throw new Error("the definition has no steps");
  return steps;
}

function pick<Value>(values: readonly Value[], at: number): Value {
  const value = values[at % values.length];
  if (value === undefined) throw new Error("there is nothing to choose from");
  return value;
}

/** A definition that is valid except for one change, and what the change is. */
const anyInvalid = fc
  .record({ plan: anyPlan, what: fc.constantFrom(...Object.keys(FAULTS)), step: fc.nat(), at: fc.nat() })
  .map(({ plan, what, step, at }) => {
    const definition = definitionOf(plan);
    const changed = pick(stepsOf(definition), step);
    if (isObject(changed)) FAULTS[what]?.(definition, changed, at);
    return { what, definition };
  });

/**
 * Saves `count` valid definitions and `count` invalid ones.
 * @returns what is wrong with the answers: a valid one that is refused, an invalid one that is not refused with a 422, or an
 *   error of such a refusal that names no field
 */
export async function saveRandomDefinitions(app: TestApp, count: number, seed: number): Promise<string[]> {
  const key = await app.stores.key("acme");
  const save = async (body: JsonObject) => {
    const answer = await app.call("PUT", "/api/v2/orchestrations/orch", { key, body });
    return { status: answer.status, body: await bodyOf(answer) };
  };
  const wrong = new Map<string, string>();
  const note = (kind: string, answer: object, definition: JsonObject): void => {
    if (!wrong.has(kind)) wrong.set(kind, `${kind}: ${JSON.stringify({ answer, definition })}`);
  };
  for (const plan of fc.sample<Plan>(anyPlan, { seed, numRuns: count })) {
    const definition = definitionOf(plan);
    const answer = await save(definition);
    if (answer.status !== 200) note("a valid definition is refused", answer, definition);
  }
  for (const { what, definition } of fc.sample(anyInvalid, { seed, numRuns: count })) {
    const answer = await save(definition);
    const { errors } = answer.body;
    const paths = Array.isArray(errors)
      ? errors.map((error) => (isObject(error) ? error["path"] : null))
      : [];
    const hasPaths = paths.length > 0 && paths.every((path) => typeof path === "string" && path !== "");
    if (answer.status !== 422 || !hasPaths) note(what, answer, definition);
  }
  return [...wrong.values()];
}
