import { namesOf } from "../events.ts";
import { renderTemplate } from "../render-template.ts";
import { outputOf } from "../run-state.ts";
import type { PureExecutor } from "../ports.ts";

/** Renders `print_content`. */
export const print: PureExecutor<"print"> = async (step, context) => {
  const text = await renderTemplate(step.print_content, context);
  return {
    set: outputOf(step, text),
    events: [
      { type: "final", response: text, intent: "print", data: null, tool_name: null, ...namesOf(step) },
    ],
    usage: [],
    response: text,
    effects: [],
  };
};
