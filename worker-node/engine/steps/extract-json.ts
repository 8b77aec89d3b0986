import { modelOf } from "../../../shared/contracts/model-name.ts";
import { TextBudget } from "../bounded-text.ts";
import { Conversation } from "../conversation.ts";
import { namesOf } from "../events.ts";
import { TerminalError } from "../step-errors.ts";
import { findJson, jsonOfAnswer } from "../find-json.ts";
import { parseJson } from "../parse-json.ts";
import { asText, outputOf, valueAt } from "../run-state.ts";
import type { StepOf } from "../../../shared/contracts/definition/index.ts";
import type { Json } from "../../../shared/contracts/json.ts";
import type { Executor, StepContext, StepResult } from "../ports.ts";

const REPAIR =
  "The text below should hold JSON, and a parser finds none in it: it may be cut, or written in another notation. " +
  "Answer with the JSON that it means, complete and valid, and with nothing else. Add no value that the text does not have.";

/**
 * Finds JSON in the text of each of the `input_keys`: the whole text, else fenced blocks, else objects and lists in brackets, but not
 * in what a model thought aloud. One value becomes the output, several become a list. A text without JSON goes to the
 * model, once. Without JSON in its answer the step fails: the steps that follow could not use "no JSON".
 */
export const extractJson: Executor<"extract_json"> = async (step, context) => {
  const texts = await textsOf(step, context);
  const found = findJson(...texts);
  if (found.length > 0) return resultOf(step, found);
  if (texts.every((text) => text.trim() === "")) throw noJson(step, "there is no text");
  const conversation = new Conversation(context, [
    { role: "system", content: REPAIR },
    { role: "user", content: texts.join("\n\n") },
  ]);
  const { content } = await conversation.callModel({
    model: modelOf(step.model),
    tools: [],
    toolChoice: "auto",
  });
  const repaired = jsonOfAnswer(content);
  if (repaired.length === 0) {
    // The call is charged with the failure: it is in the usage of the try.
    throw noJson(step, "there is no JSON in the text, and none in what a model made of it");
  }
  return { ...resultOf(step, repaired), usage: conversation.usage, effects: conversation.effects };
};

function noJson(step: StepOf<"extract_json">, what: string): TerminalError {
  return new TerminalError("no_json", `${what}: input_keys ${step.input_keys.join(", ")}`);
}

/** A text that holds an object or a list as a whole is that value: models encode their JSON twice. */
function unquoted(value: Json): Json {
  const inner = typeof value === "string" ? parseJson(value) : undefined;
  return typeof inner === "object" && inner !== null ? inner : value;
}

function resultOf(step: StepOf<"extract_json">, [first = null, ...more]: readonly Json[]): StepResult {
  const value = more.length === 0 ? unquoted(first) : [first, ...more];
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
}

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
