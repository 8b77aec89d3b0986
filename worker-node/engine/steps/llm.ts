import { modelOf } from "../../../shared/contracts/model-name.ts";
import { Conversation, textOf } from "../conversation.ts";
import { deltas } from "../deltas.ts";
import { namesOf } from "../events.ts";
import { composePrompt } from "../prompt.ts";
import { outputOf } from "../run-state.ts";
import type { Executor } from "../ports.ts";

const SYSTEM =
  "You carry out one step of a workflow. Answer with the result alone, without remarks about the task.";

/** One call to a model. */
export const llm: Executor<"llm"> = async (step, context) => {
  const conversation = new Conversation(context, [
    { role: "system", content: SYSTEM },
    { role: "user", content: await composePrompt(step, step.prompt_template, context) },
  ]);
  const answer = await conversation.callModel({
    model: modelOf(step.model),
    tools: [],
    toolChoice: "auto",
    text: deltas(step, context),
  });
  const content = textOf(answer);
  return {
    set: outputOf(step, content),
    events: [
      { type: "final", response: content, intent: "llm", data: null, tool_name: null, ...namesOf(step) },
    ],
    usage: conversation.usage,
    response: content,
    effects: conversation.effects,
  };
};
