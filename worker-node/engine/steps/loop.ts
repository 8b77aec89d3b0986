import { limits } from "../../../shared/contracts/definition/fields.ts";
import { pathInState, readsItem } from "../../../shared/contracts/definition/index.ts";
import { namesOf } from "../events.ts";
import { outputOf, valueAt } from "../run-state.ts";
import { TerminalError } from "../step-errors.ts";
import type { Step, StepOf } from "../../../shared/contracts/definition/index.ts";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import type { EndedTrack, Fork } from "../../../shared/journal/track.ts";
import type { Forker, StepContext } from "../ports.ts";

/** The name of the list of errors beside the lists of the steps. */
const ERRORS = "errors";

/**
 * Repeats its steps `loop_count` times, or for each item of a list. Afterwards each `output_key` of its steps has the list
 * of its values, one for each iteration; the loop's own `output_key` has these lists by the names of the steps.
 */
export const loop: Forker<"loop"> = {
  begin: async (step, context) => {
    const items = await itemsOf(step, context);
    const count = items?.length ?? step.loop_count;
    return {
      in: items === null ? "rounds" : "items",
      count,
      events: [{ type: "loop_start", ...namesOf(step), total: count }],
    };
  },
  track: (step, index, { count }) => ({
    type: "loop_iteration",
    ...namesOf(step),
    iteration: index + 1,
    total: count,
  }),
  join: (step, fork, steps) => {
    const lists = listsOf(step, fork, steps);
    return {
      set: outputOf(step, lists),
      events: [{ type: "loop_complete", ...namesOf(step), iterations_completed: fork.endedCount }],
      usage: [],
      response: lists,
      effects: [],
    };
  },
};

/**
 * The list that a loop goes through; null: it has none. In a loop inside of another one, `item.key` is a place in the item of that one.
 * @throws TerminalError when there is no such list
 */
export async function itemsOf(
  { for_each }: StepOf<"loop">,
  { state, load, loopVariables }: Pick<StepContext, "state" | "load" | "loopVariables">,
): Promise<Json[] | null> {
  if (for_each === null) return null;
  const variables = readsItem(for_each) ? await loopVariables() : {};
  const isOfItem = Object.hasOwn(variables, "item");
  const value = await valueAt(isOfItem ? variables : state, pathInState(for_each), load);
  if (value === undefined) {
    const where = isOfItem ? "this iteration" : "state";
    throw new TerminalError("no_list", `for_each reads ${for_each}, which ${where} does not have`);
  }
  if (!Array.isArray(value)) {
    throw new TerminalError("no_list", `for_each reads ${for_each}, which is no list`);
  }
  if (value.length > limits.loopIterations) {
    throw new TerminalError(
      "too_many_items",
      `${for_each} has ${value.length} items, and a loop may have at most ${limits.loopIterations}`,
    );
  }
  return value;
}

/** The lists of a loop by the names of its steps, with the errors of failed iterations (null where one succeeded), if any did. */
function listsOf(step: StepOf<"loop">, fork: Fork, steps: readonly Step[]): JsonObject {
  const own = steps.filter(({ id, output_key }) => step.loop_step_ids.includes(id) && output_key !== null);
  const named = own.map((one) => [nameIn(own, one), listOf(one, fork)]);
  const failed = fork.ended.some(({ error }) => error !== null);
  const errors = failed
    ? { [ERRORS]: fork.ended.map(({ error }): Json => (error === null ? null : { ...error })) }
    : {};
  return { ...Object.fromEntries(named), ...errors };
}

/** What a step has written in each iteration; null where it did not run, or where another step has replaced its value. */
function listOf({ id, output_key }: Step, { count, ended }: Fork): Json[] {
  const key = output_key ?? "";
  const valueIn = (track: EndedTrack | undefined) => (track?.writers[key] === id ? track.kept[key] : null);
  return Array.from({ length: count }, (_, index) => valueIn(ended[index]) ?? null);
}

/** The name of a step's list: the step's name, or its id where it has none; name and id where another list has that name too. */
function nameIn(steps: readonly Step[], step: Step): string {
  const name = shortNameOf(step);
  const isShared = steps.some((other) => other.id !== step.id && shortNameOf(other) === name);
  return isShared || name === ERRORS ? `${name} (${step.id})` : name;
}

function shortNameOf({ id, name }: Step): string {
  return name === "" ? id : name;
}
