import { Conversation } from "../conversation.ts";
import { deltas } from "../deltas.ts";
import { TerminalError } from "../errors.ts";
import { named } from "../events.ts";
import { compose } from "../prompt.ts";
import { modelOf } from "./model-of.ts";
import { output } from "./output.ts";
import type { Executor } from "./executor.ts";

const SYSTEM =
  "You carry out one step of a workflow. Answer with the result alone, without remarks about the task.";

/** One call to a model. */
export const llm: Executor<"llm"> = async (step, context) => {
  const talk = new Conversation(context, [
    { role: "system", content: SYSTEM },
    { role: "user", content: await compose(step, step.prompt_template, context) },
  ]);
  const shown = deltas(step, context);
  const { content } = await talk.ask({
    model: modelOf(step.model),
    tools: [],
    toolChoice: "auto",
    onText: shown.push,
  });
  shown.flush();
  if (content.trim() === "") throw new TerminalError("empty_answer", "the model answered with no text");
  return {
    set: output(step, content),
    events: [
      { type: "final", response: content, intent: "llm", data: null, tool_name: null, ...named(step) },
    ],
    usage: talk.usage,
    response: content,
    effects: talk.effects,
  };
};
