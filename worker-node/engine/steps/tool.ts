import { Conversation, effectKey } from "../conversation.ts";
import { TerminalError } from "../errors.ts";
import { named } from "../events.ts";
import { findJson } from "../find-json.ts";
import { compose } from "../prompt.ts";
import { lookUp } from "../run-state.ts";
import { callTool, openToolbox, specsOf, told } from "../toolbox.ts";
import { modelOf } from "./model-of.ts";
import { output } from "./output.ts";
import type { StepOf } from "../../../shared/contracts/definition/index.ts";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import type { StepContext, StepResult, ToolCall, ToolSpec } from "../ports.ts";
import type { Toolbox } from "../toolbox.ts";
import type { Executor } from "./executor.ts";

/** How often a model may correct arguments that the tool refuses, the first time included. */
const ASKS = 3;

/**
 * Calls `forced_tool`. With a `prompt_template` or a `model`, a model fills in the arguments; else they are the values
 * of `input_keys` by name (without input keys the run's message, for a tool that takes one argument).
 */
export const tool: Executor<"tool"> = async (step, context) => {
  const box = await openToolbox([step.forced_tool], context);
  const asksModel = step.prompt_template.trim() !== "" || modelOf(step.model) !== null;
  return asksModel ? byModel(box, step, context) : byState(box, step, context);
};

async function byState(box: Toolbox, step: StepOf<"tool">, context: StepContext): Promise<StepResult> {
  const args = await argsFromState(specsOf(box)[0], step, context);
  await context.confirm();
  const key = effectKey(context, "tool.1");
  const answer = await callTool({ id: "1", name: step.forced_tool, args }, box, key, step, context);
  if (!answer.ok) throw new TerminalError("tool_rejected", answer.reason);
  return result(answer.value, step, { usage: [], effects: [key] });
}

async function argsFromState(
  spec: ToolSpec | undefined,
  step: StepOf<"tool">,
  context: StepContext,
): Promise<JsonObject> {
  const properties = spec?.parameters["properties"];
  const names = typeof properties === "object" && properties !== null ? Object.keys(properties) : [];
  const [only, ...others] = names;
  if (step.input_keys.length === 0 && only !== undefined && others.length === 0)
    return { [only]: context.message };
  const args: JsonObject = {};
  for (const key of step.input_keys) {
    const value = await lookUp(context.state, [key], context.load);
    if (value !== undefined) args[key] = value;
  }
  return args;
}

/**
 * The arguments are committed before the tool is called: after a crash the same call goes out under the same key,
 * not another that a model made up in its place.
 */
async function byModel(box: Toolbox, step: StepOf<"tool">, context: StepContext): Promise<StepResult> {
  const talk = new Conversation(context, [
    {
      role: "system",
      content: `Call the tool ${step.forced_tool} once, with the arguments that the task asks for.`,
    },
    { role: "user", content: await compose(step, step.prompt_template, context) },
  ]);
  for (;;) {
    if (talk.last?.role !== "assistant") {
      if (talk.answers >= ASKS) {
        throw new TerminalError(
          "tool_rejected",
          `no call of ${step.forced_tool} was accepted in ${ASKS} answers`,
        );
      }
      await talk.ask({ model: modelOf(step.model), tools: specsOf(box), toolChoice: "required" });
      await talk.commit();
      continue;
    }
    const call = callOf(talk.last, step);
    if (call === null) {
      reply(talk, `Call the tool ${step.forced_tool}, or answer with JSON that holds its arguments alone.`);
    } else {
      const key = await talk.effect(`tool.${talk.answers}`);
      const answer = await callTool(call, box, key, step, context);
      if (answer.ok) return result(answer.value, step, talk);
      reply(talk, told(answer));
    }
    await talk.commit();
  }
}

function reply(talk: Conversation, content: string): void {
  if (talk.last?.role === "assistant" && talk.last.tool_calls.length > 0) talk.answerCalls(content);
  else talk.add({ role: "user", content });
}

/** The call in an answer: a native one, else JSON arguments in its text. */
function callOf(
  answer: { content: string; tool_calls: readonly ToolCall[] },
  step: StepOf<"tool">,
): ToolCall | null {
  const native = answer.tool_calls.find((call) => call.name === step.forced_tool);
  if (native !== undefined) return native;
  const [args] = findJson(answer.content);
  const usable =
    answer.tool_calls.length === 0 && typeof args === "object" && args !== null && !Array.isArray(args);
  return usable ? { id: "text", name: step.forced_tool, args } : null;
}

function result(value: Json, step: StepOf<"tool">, spent: Pick<StepResult, "usage" | "effects">): StepResult {
  return {
    set: output(step, value),
    events: [
      {
        type: "final",
        response: value,
        intent: "tool",
        data: null,
        tool_name: step.forced_tool,
        ...named(step),
      },
    ],
    usage: spent.usage,
    response: value,
    effects: spent.effects,
  };
}
