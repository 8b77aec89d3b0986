import { DELEGATE_TOOL, toolsInBoth } from "../../../shared/contracts/definition/index.ts";
import { modelOf } from "../../../shared/contracts/model-name.ts";
import { compactAtBytes } from "../../../shared/contracts/model-window.ts";
import { workOn } from "../agent-work.ts";
import { resultBytes } from "../call-tool.ts";
import { openChat } from "../chat.ts";
import { childResult } from "../child-result.ts";
import { Conversation } from "../conversation.ts";
import { delegateTools, loadAgent, openingOf } from "../delegation.ts";
import { namesOf } from "../events.ts";
import { oneAtATime } from "../one-at-a-time.ts";
import { composePrompt } from "../prompt.ts";
import { outputOf } from "../run-state.ts";
import { spawnTool } from "../spawn-run.ts";
import { CallIsOpen } from "../step-errors.ts";
import { answerTool } from "../structured-output.ts";
import { openToolbox } from "../toolbox.ts";
import type { ConversationalAgent, StepOf } from "../../../shared/contracts/definition/index.ts";
import type { Executor, StepContext, StepResult } from "../ports.ts";
import type { OfferedTool } from "../offered-tool.ts";

/**
 * Lets an agent work on the task with its tools, and with the agents to which it may delegate, until it answers. See `workOn`
 * for what is committed on the way. The agent has as many turns as the smaller `max_turns` allows: the step's or its own. An
 * orchestrator has its orchestration do the task, as a run of its own.
 *
 * When calls of an answer have to wait (for runs, persons or tasks), the results of its other calls are committed and the step waits.
 */
export const agent: Executor<"agent"> = async (step, context) => {
  const definition = await loadAgent(step.agent_id, context);
  if (definition.type !== "orchestrator") {
    return converse(definition, step, context).catch((error: unknown) => {
      if (error instanceof CallIsOpen) return { waitsForCalls: true };
      throw error;
    });
  }
  const message = await composePrompt(step, step.prompt_template, context);
  const request = { orchestrationId: definition.orchestration_id, message, state: {}, timeoutMs: null };
  return childResult(step, request, "fail", context);
};

async function converse(
  definition: ConversationalAgent,
  step: StepOf<"agent">,
  context: StepContext,
): Promise<StepResult> {
  const model = modelOf(step.model) ?? modelOf(definition.model, definition.provider);
  const { chat } = context;
  const window = await context.windowTokens(model);
  const opening =
    chat === null
      ? openingOf(definition, await composePrompt(step, step.prompt_template, context))
      : await openChat({ step, context, chat, model, window, systemPrompt: definition.system_prompt });
  const conversation = new Conversation(context, opening);
  const work = {
    step,
    context,
    conversation,
    model,
    compactAtBytes: definition.compact_at_chars ?? compactAtBytes(window),
    resultBytes: resultBytes(window),
    maxTurns: Math.min(step.max_turns, definition.max_turns ?? step.max_turns),
    schema: step.output_schema,
    isDelegated: false,
    alone: oneAtATime(),
  };
  const first: OfferedTool[] = [
    ...(mayDelegate(step) ? await delegateTools(definition, 0, work) : []),
    ...(step.output_schema === null ? [] : [answerTool(step.output_schema)]),
  ];
  const toolbox = await openToolbox(allowed(definition, step), step, context, {
    first,
    spawn: spawnTool(definition, step, context),
  });
  const response = await workOn({ ...work, toolbox });
  return {
    set: outputOf(step, response),
    events: [{ type: "final", response, intent: "agent", data: null, tool_name: null, ...namesOf(step) }],
    usage: conversation.usage,
    response,
    effects: conversation.effects,
  };
}

/** The agent's tools, restricted by the step. A step cannot give an agent a tool that it does not have. */
function allowed({ tools }: ConversationalAgent, { allowed_tools }: StepOf<"agent">): readonly string[] {
  return allowed_tools === null ? tools : toolsInBoth(tools, allowed_tools);
}

/** The delegates have tools of their own, so a step that restricts the agent's tools must allow delegation by name. */
function mayDelegate({ allowed_tools }: StepOf<"agent">): boolean {
  return allowed_tools === null || allowed_tools.includes(DELEGATE_TOOL);
}
