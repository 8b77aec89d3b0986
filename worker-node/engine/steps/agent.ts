import { parseAgent, toolsInBoth } from "../../../shared/contracts/definition/index.ts";
import { modelOf } from "../../../shared/contracts/model-name.ts";
import { childResult } from "../child-result.ts";
import { Conversation, textOf } from "../conversation.ts";
import { openChat, systemMessage } from "../chat.ts";
import { deltas } from "../deltas.ts";
import { TerminalError } from "../step-errors.ts";
import { namesOf } from "../events.ts";
import { composePrompt } from "../prompt.ts";
import { isBuiltInSpawn, spawnRun, withChoice } from "../spawn-run.ts";
import { callTool, openToolbox, specsOf, textForModel } from "../toolbox.ts";
import { outputOf } from "../run-state.ts";
import type { Agent, ConversationalAgent, StepOf } from "../../../shared/contracts/definition/index.ts";
import type { ChildrenWait, Executor, StepContext, StepResult } from "../ports.ts";
import type { Toolbox } from "../toolbox.ts";

/**
 * Lets an agent work on the task with its tools until it answers without a tool call. An orchestrator has its orchestration do
 * the task, as a run of its own.
 *
 * Each answer with tool calls, and each round of tool calls, is committed before the next one begins. After a crash or a
 * retry the step therefore continues in the middle. A round that was interrupted is repeated as a whole, under the same
 * effect keys. When runs that a round has started are still going on, its other results are committed and the step waits.
 * The step fails when the agent still calls tools after `max_turns` answers: the smaller one of the step's and
 * the agent's own.
 */
export const agent: Executor<"agent"> = async (step, context) => {
  const definition = await loadAgent(step.agent_id, context);
  if (definition.type !== "orchestrator") return converse(definition, step, context);
  const message = await composePrompt(step, step.prompt_template, context);
  const request = { orchestrationId: definition.orchestration_id, message, state: {}, timeoutMs: null };
  return childResult(step, request, "fail", context);
};

async function converse(
  definition: ConversationalAgent,
  step: StepOf<"agent">,
  context: StepContext,
): Promise<StepResult | ChildrenWait> {
  const toolbox = await openToolbox(allowed(definition, step), context);
  const maxTurns = Math.min(step.max_turns, definition.max_turns ?? step.max_turns);
  const model = modelOf(step.model) ?? modelOf(definition.model, definition.provider);
  const conversation = new Conversation(
    context,
    context.chat === null
      ? [
          ...systemMessage(definition.system_prompt),
          { role: "user", content: await composePrompt(step, step.prompt_template, context) },
        ]
      : await openChat({ step, context, chat: context.chat, model, systemPrompt: definition.system_prompt }),
  );
  for (;;) {
    if (conversation.openCalls.length > 0) {
      // The agent needs another answer after its tools.
      context.checkCost();
      const waitsForChildren = await callTools(conversation, { toolbox, agent: definition }, step, context);
      if (waitsForChildren) return { waitsForChildren };
      continue;
    }
    if (conversation.answerCount >= maxTurns) {
      throw new TerminalError("max_turns", `the agent has not answered in ${maxTurns} turns`);
    }
    const answer = await conversation.callModel({
      model,
      tools: specsOf(toolbox).map((spec) => withChoice(spec, definition)),
      toolChoice: "auto",
      text: deltas(step, context),
    });
    if (answer.tool_calls.length === 0) return result(textOf(answer), conversation, step);
    if (answer.content.trim() !== "") {
      context.note({
        type: "llm_thought",
        ...namesOf(step),
        thought: answer.content,
        turn: conversation.answerCount,
      });
    }
    await conversation.commit();
  }
}

/**
 * Makes the calls of one answer that have no result yet, in their order.
 * @returns whether the step has to wait for a run that one of them has started
 */
async function callTools(
  conversation: Conversation,
  { toolbox, agent: definition }: { toolbox: Toolbox; agent: ConversationalAgent },
  step: StepOf<"agent">,
  context: StepContext,
): Promise<boolean> {
  const turn = conversation.answerCount;
  let waitsForChildren = false;
  for (const { call, number } of conversation.openCalls) {
    const place = `tool.${turn}.${number}`;
    const isSpawn = isBuiltInSpawn(toolbox.get(call.name)?.stored);
    const called = isSpawn
      ? await spawnRun({ call, place }, definition, step, context)
      : {
          ...(await callTool(
            { ...call, by: "agent" },
            toolbox,
            await conversation.effect(place),
            step,
            context,
          )),
          usage: [],
        };
    if (called === null) {
      waitsForChildren = true;
      continue;
    }
    conversation.charge(called.usage);
    const content = textForModel(called);
    conversation.add({ role: "tool", tool_call_id: call.id, tool_name: call.name, content });
  }
  if (conversation.isChanged) await conversation.commit();
  return waitsForChildren;
}

function result(text: string, conversation: Conversation, step: StepOf<"agent">): StepResult {
  return {
    set: outputOf(step, text),
    events: [
      { type: "final", response: text, intent: "agent", data: null, tool_name: null, ...namesOf(step) },
    ],
    usage: conversation.usage,
    response: text,
    effects: conversation.effects,
  };
}

async function loadAgent(id: string, context: StepContext): Promise<Agent> {
  const stored = await context.agent(id);
  if (stored === null) throw new TerminalError("unknown_agent", `there is no agent "${id}"`);
  const parsed = parseAgent(stored);
  if (parsed.ok) return parsed.definition;
  throw new TerminalError("bad_agent", `the definition of the agent "${id}" cannot be used`);
}

/** The agent's tools, restricted by the step. A step cannot give an agent a tool that it does not have. */
function allowed({ tools }: ConversationalAgent, { allowed_tools }: StepOf<"agent">): readonly string[] {
  return allowed_tools === null ? tools : toolsInBoth(tools, allowed_tools);
}
