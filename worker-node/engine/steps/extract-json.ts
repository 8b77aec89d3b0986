import { TextBudget } from "../bounded-text.ts";
import { namesOf } from "../events.ts";
import { TerminalError } from "../step-errors.ts";
import { findJson } from "../find-json.ts";
import { asText, outputOf, valueAt } from "../run-state.ts";
import type { StepOf } from "../../../shared/contracts/definition/index.ts";
import type { Executor, StepContext } from "../ports.ts";

/**
 * Finds JSON in the text of `input_keys`: the whole text, else fenced blocks, else objects and lists in brackets, but not
 * in what a model thought aloud. One value becomes the output, several become a list. Text without JSON fails the step:
 * the steps that follow could not use "no JSON".
 */
export const extractJson: Executor<"extract_json"> = async (step, context) => {
  const [first, ...more] = findJson(...(await textsOf(step, context)));
  if (first === undefined) {
    throw new TerminalError("no_json", `there is no JSON in the text of ${step.input_keys.join(", ")}`);
  }
  const value = more.length === 0 ? first : [first, ...more];
  return {
    set: outputOf(step, value),
    events: [
      {
        type: "final",
        response: value,
        intent: "extract_json",
        data: null,
        tool_name: null,
        ...namesOf(step),
      },
    ],
    usage: [],
    response: value,
    effects: [],
  };
};

async function textsOf(step: StepOf<"extract_json">, context: StepContext): Promise<string[]> {
  const budget = new TextBudget("the text to search for JSON");
  const texts: string[] = [];
  for (const key of new Set(step.input_keys)) {
    const value = await valueAt(context.state, [key], context.load);
    if (value === undefined) continue;
    budget.expect(value);
    const text = asText(value);
    budget.add(text);
    texts.push(text);
  }
  return texts;
}
