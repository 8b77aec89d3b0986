import { named } from "../events.ts";
import { render } from "../template.ts";
import { output } from "./output.ts";
import type { Executor } from "./executor.ts";

/** Renders `print_content`. */
export const print: Executor<"print"> = async (step, context) => {
  const text = await render(step.print_content, context);
  return {
    set: output(step, text),
    events: [{ type: "final", response: text, intent: "print", data: null, tool_name: null, ...named(step) }],
    usage: [],
    response: text,
    effects: [],
  };
};
