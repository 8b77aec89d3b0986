import { named } from "../events.ts";
import { TerminalError } from "../errors.ts";
import { findJson } from "../find-json.ts";
import { asText, lookUp } from "../run-state.ts";
import { output } from "./output.ts";
import type { Executor } from "./executor.ts";

/**
 * Finds JSON in the text of `input_keys`: the whole text, else fenced blocks, else what braces enclose. One value
 * becomes the output, several become a list. None fails the step: with text that a model wrote freely, "no JSON" is
 * an answer that nothing after this step could use.
 */
export const extractJson: Executor<"extract_json"> = async (step, context) => {
  const texts: string[] = [];
  for (const key of step.input_keys) {
    const value = await lookUp(context.state, [key], context.load);
    if (value !== undefined) texts.push(asText(value));
  }
  const [first, ...more] = findJson(texts.join("\n\n"));
  if (first === undefined) {
    throw new TerminalError("no_json", `there is no JSON in the text of ${step.input_keys.join(", ")}`);
  }
  const value = more.length === 0 ? first : [first, ...more];
  return {
    set: output(step, value),
    events: [
      { type: "final", response: value, intent: "extract_json", data: null, tool_name: null, ...named(step) },
    ],
    usage: [],
    response: value,
    effects: [],
  };
};
