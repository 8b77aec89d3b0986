import { TextBudget } from "../bounded-text.ts";
import { namesOf } from "../events.ts";
import { asText, valueOrFileAt, outputOf } from "../run-state.ts";
import { TerminalError } from "../step-errors.ts";
import type { StepOf } from "../../../shared/contracts/definition/index.ts";
import type { Json } from "../../../shared/contracts/json.ts";
import type { PureContext, PureExecutor } from "../ports.ts";

/**
 * Brings the values of `input_keys` together, each with a label that names the step that writes it: as a list of
 * `{ source, data }`, as an object by label, or as one text. A key that several branches have written gives the value of each,
 * null for a branch that has failed or gone another way. A key that state does not have fails the step: a result with a gap
 * would look complete.
 */
export const merge: PureExecutor<"merge"> = async (step, context) => {
  const inputs = await inputsOf(step, context);
  const value = merged(step.merge_strategy, inputs);
  return {
    set: outputOf(step, value),
    events: [
      {
        type: "merge_complete",
        ...namesOf(step),
        input_count: inputs.length,
        strategy: step.merge_strategy,
      },
    ],
    usage: [],
    response: value,
    effects: [],
  };
};

type Input = { source: string; key: string; data: Json };

async function inputsOf(step: StepOf<"merge">, context: PureContext): Promise<Input[]> {
  const inputs: Input[] = [];
  const missing: string[] = [];
  const budget = new TextBudget("the merged values");
  for (const key of new Set(step.input_keys)) {
    const data = await valueOrFileAt(context.state, [key], context.load);
    if (data === undefined) {
      missing.push(key);
      continue;
    }
    budget.expect(data);
    budget.add(asText(data));
    inputs.push(...(await valuesOf(key, data, context)));
  }
  if (missing.length === 0) return inputs;
  throw new TerminalError("missing_input", `state has no ${missing.join(", ")}: no step has written it`);
}

/** A value with its source, or the values of several branches with theirs. */
async function valuesOf(key: string, data: Json, { load, sourceOf }: PureContext): Promise<Input[]> {
  const source = sourceOf(key);
  if (typeof source === "string" || !Array.isArray(data)) return [{ source: String(source), key, data }];
  const inputs = source.map(async (name, branch): Promise<Input[]> => {
    if (name === null) return [];
    return [{ source: name, key, data: (await valueOrFileAt(data[branch] ?? null, [], load)) ?? null }];
  });
  return (await Promise.all(inputs)).flat();
}

function merged(strategy: StepOf<"merge">["merge_strategy"], inputs: readonly Input[]): Json {
  switch (strategy) {
    case "list":
      return inputs.map(({ source, data }) => ({ source, data }));
    case "dict":
      return Object.fromEntries(inputs.map((input) => [nameIn(inputs, input), input.data]));
    case "concat":
      return inputs.map(({ source, data }) => `[${source}]\n${asText(data)}`).join("\n\n");
  }
}

/** The name of an input in an object: its source, with the key where another input has that source too. */
function nameIn(inputs: readonly Input[], { source, key }: Input): string {
  const isShared = inputs.some((other) => other.source === source && other.key !== key);
  return isShared ? `${source} (${key})` : source;
}
