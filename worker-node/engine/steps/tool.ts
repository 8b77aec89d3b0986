import { TextBudget } from "../bounded-text.ts";
import { modelOf } from "../../../shared/contracts/model-name.ts";
import { Conversation } from "../conversation.ts";
import { CallIsOpen, TerminalError } from "../step-errors.ts";
import { namesOf } from "../events.ts";
import { jsonOfAnswer } from "../find-json.ts";
import { composePrompt } from "../prompt.ts";
import { asText, outputOf, valueAt } from "../run-state.ts";
import { argumentsInCall } from "../tool-arguments.ts";
import { callTool, textForModel } from "../call-tool.ts";
import { openToolbox, specsOf } from "../toolbox.ts";
import type { StepOf } from "../../../shared/contracts/definition/index.ts";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import type { Executor, StepContext, StepResult, ToolCall, ToolSpec } from "../ports.ts";
import type { CallToPerform } from "../offered-tool.ts";
import type { Toolbox } from "../toolbox.ts";

/** The most answers that a model may give until the tool accepts its arguments. */
const MAX_ANSWERS = 3;

/**
 * Calls `forced_tool`. With a `prompt_template` or a `model`, a model fills in the arguments. Without either, the
 * arguments are the values of `input_keys` by name; without input keys, a tool with one argument gets the run's message.
 */
export const tool: Executor<"tool"> = async (step, context) => {
  const toolbox = await openToolbox([step.forced_tool], step, context);
  const isByModel = step.prompt_template.trim() !== "" || modelOf(step.model) !== null;
  const called = isByModel ? byModel(toolbox, step, context) : byState(toolbox, step, context);
  return called.catch((error: unknown) => {
    if (error instanceof CallIsOpen) return { waitsForCalls: true };
    throw error;
  });
};

async function byState(toolbox: Toolbox, step: StepOf<"tool">, context: StepContext): Promise<StepResult> {
  const args = await argsFromState(specsOf(toolbox)[0], step, context);
  const conversation = new Conversation(context, []);
  const isBegun = conversation.isBegun("tool.1");
  const call = { id: "1", name: step.forced_tool, args, by: "state" as const, isBegun };
  const answer = await callTool(
    { ...call, ...callNamed("tool.1", conversation, context) },
    toolbox,
    step,
    context,
  );
  if (!answer.ok) throw new TerminalError(answer.code, answer.message);
  return result(answer.value, step, conversation);
}

async function argsFromState(
  spec: ToolSpec | undefined,
  step: StepOf<"tool">,
  context: StepContext,
): Promise<JsonObject> {
  const properties = spec?.parameters["properties"];
  const names = typeof properties === "object" && properties !== null ? Object.keys(properties) : [];
  const [first, ...more] = names;
  if (step.input_keys.length === 0 && first !== undefined && more.length === 0)
    return { [first]: context.message };
  const args: JsonObject = {};
  const budget = new TextBudget("the arguments of the tool");
  for (const key of new Set(step.input_keys)) {
    const value = await valueAt(context.state, [key], context.load);
    if (value === undefined) continue;
    budget.expect(value);
    budget.add(asText(value));
    args[key] = value;
  }
  return args;
}

/**
 * The arguments are committed before the tool is called. After a crash the same call is repeated under the same key; a
 * model does not invent another one.
 */
async function byModel(toolbox: Toolbox, step: StepOf<"tool">, context: StepContext): Promise<StepResult> {
  const conversation = new Conversation(context, [
    {
      role: "system",
      content: `Call the tool ${step.forced_tool} once, with the arguments that the task asks for.`,
    },
    { role: "user", content: await composePrompt(step, step.prompt_template, context) },
  ]);
  for (;;) {
    if (conversation.last?.role !== "assistant") {
      if (conversation.answerCount >= MAX_ANSWERS) {
        throw new TerminalError(
          "tool_rejected",
          `no call of ${step.forced_tool} was accepted in ${MAX_ANSWERS} answers`,
        );
      }
      await conversation.callModel({
        model: modelOf(step.model),
        tools: specsOf(toolbox),
        toolChoice: "required",
      });
      await conversation.commit();
      continue;
    }
    const call = callOf(conversation.last, step);
    if (call === null) {
      correct(
        conversation,
        `Call the tool ${step.forced_tool}, or answer with JSON that holds its arguments alone.`,
      );
    } else {
      const name = `tool.${conversation.answerCount}`;
      const at = { ...callNamed(name, conversation, context), isBegun: conversation.isBegun(name) };
      const answer = await callTool({ ...call, by: "model", ...at }, toolbox, step, context);
      if (answer.ok) return result(answer.value, step, conversation);
      correct(conversation, textForModel(answer));
    }
    await conversation.commit();
  }
}

/** What a call of this name may commit and reach. The call becomes an effect of the step. */
function callNamed(
  at: string,
  conversation: Conversation,
  { files }: StepContext,
): Omit<CallToPerform, "args"> {
  return {
    at,
    effect: () => conversation.effect(at),
    begin: async () => {
      const begun = await conversation.begin(at);
      await conversation.effect(at);
      return begun;
    },
    charge: (usage) => conversation.charge(usage),
    pending: (key) => conversation.pending(key),
    commitPending: (pending) => conversation.commitPending(pending),
    files,
  };
}

function correct(conversation: Conversation, content: string): void {
  if (conversation.last?.role === "assistant" && conversation.last.tool_calls.length > 0)
    conversation.closeCalls(content);
  else conversation.add({ role: "user", content });
}

/** The tool call in an answer, else one made from the one JSON value in its text. Null: there is neither. */
function callOf(
  answer: { content: string; tool_calls: readonly ToolCall[] },
  step: StepOf<"tool">,
): ToolCall | null {
  const native = answer.tool_calls.find((call) => call.name === step.forced_tool);
  if (native !== undefined) return native;
  const [written = null, ...others] = answer.tool_calls.length === 0 ? jsonOfAnswer(answer.content) : [];
  const args = argumentsInCall(written, step.forced_tool);
  return args === null || others.length > 0 ? null : { id: "text", name: step.forced_tool, args };
}

function result(value: Json, step: StepOf<"tool">, cost: Pick<StepResult, "usage" | "effects">): StepResult {
  return {
    set: outputOf(step, value),
    events: [
      {
        type: "final",
        response: value,
        intent: "tool",
        data: null,
        tool_name: step.forced_tool,
        ...namesOf(step),
      },
    ],
    usage: cost.usage,
    response: value,
    effects: cost.effects,
  };
}
