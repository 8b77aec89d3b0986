import { ANSWER_TOOL } from "../../../shared/contracts/definition/index.ts";
import { modelOf } from "../../../shared/contracts/model-name.ts";
import { Conversation } from "../conversation.ts";
import { textOf } from "../model-call.ts";
import { deltas } from "../deltas.ts";
import { namesOf } from "../events.ts";
import { composePrompt } from "../prompt.ts";
import { outputOf } from "../run-state.ts";
import { answerTool, takeOutput } from "../structured-output.ts";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import type { Executor, StepContext } from "../ports.ts";

const SYSTEM =
  "You carry out one step of a workflow. Answer with the result alone, without remarks about the task.";

/** One call to a model; with an `output_schema` a second one when the answer does not fit it. */
export const llm: Executor<"llm"> = async (step, context) => {
  const prompt = await composePrompt(step, step.prompt_template, context);
  const system =
    step.output_schema === null ? SYSTEM : `${SYSTEM} Give it by calling the tool ${ANSWER_TOOL} once.`;
  const conversation = new Conversation(context, [
    { role: "system", content: system },
    { role: "user", content: prompt },
  ]);
  const model = modelOf(step.model);
  const response: Json =
    step.output_schema === null
      ? textOf(
          await conversation.callModel({ model, tools: [], toolChoice: "auto", text: deltas(step, context) }),
        )
      : await ofSchema(step.output_schema, model, conversation, context);
  return {
    set: outputOf(step, response),
    events: [{ type: "final", response, intent: "llm", data: null, tool_name: null, ...namesOf(step) }],
    usage: conversation.usage,
    response,
    effects: conversation.effects,
  };
};

async function ofSchema(
  schema: JsonObject,
  model: string | null,
  conversation: Conversation,
  context: StepContext,
): Promise<Json> {
  const { spec } = answerTool(schema);
  for (;;) {
    const answer = await conversation.callModel({ model, tools: [spec], toolChoice: "required" });
    const output = await takeOutput(answer, conversation, schema, context.sandbox);
    if (output !== null) return output.value;
  }
}
