import { DELEGATE_TOOL, toolsInBoth } from "../../../shared/contracts/definition/index.ts";
import { modelOf } from "../../../shared/contracts/model-name.ts";
import { compactAtChars } from "../../../shared/contracts/model-window.ts";
import { workOn } from "../agent-work.ts";
import { Conversation } from "../conversation.ts";
import { delegateTools, loadAgent, openingOf } from "../delegation.ts";
import { namesOf } from "../events.ts";
import { oneAtATime } from "../one-at-a-time.ts";
import { composePrompt } from "../prompt.ts";
import { outputOf } from "../run-state.ts";
import { answerTool } from "../structured-output.ts";
import { openToolbox } from "../toolbox.ts";
import type { Agent, StepOf } from "../../../shared/contracts/definition/index.ts";
import type { Executor } from "../ports.ts";
import type { OfferedTool } from "../offered-tool.ts";

/**
 * Lets an agent work on the task with its tools, and with the agents to which it may delegate, until it answers. See `workOn`
 * for what is committed on the way. The agent has as many turns as the smaller `max_turns` allows: the step's or its own.
 */
export const agent: Executor<"agent"> = async (step, context) => {
  const definition = await loadAgent(step.agent_id, context);
  const task = await composePrompt(step, step.prompt_template, context);
  const conversation = new Conversation(context, openingOf(definition, task));
  const model = modelOf(step.model) ?? modelOf(definition.model, definition.provider);
  const work = {
    step,
    context,
    conversation,
    model,
    compactAtChars: definition.compact_at_chars ?? compactAtChars(model),
    maxTurns: Math.min(step.max_turns, definition.max_turns ?? step.max_turns),
    schema: step.output_schema,
    isDelegated: false,
    alone: oneAtATime(),
  };
  const ofEngine: OfferedTool[] = [
    ...(mayDelegate(step) ? await delegateTools(definition, 0, work) : []),
    ...(step.output_schema === null ? [] : [answerTool(step.output_schema)]),
  ];
  const toolbox = await openToolbox(allowed(definition, step), context, ofEngine);
  const response = await workOn({ ...work, toolbox });
  return {
    set: outputOf(step, response),
    events: [{ type: "final", response, intent: "agent", data: null, tool_name: null, ...namesOf(step) }],
    usage: conversation.usage,
    response,
    effects: conversation.effects,
  };
};

/** The agent's tools, restricted by the step. A step cannot give an agent a tool that it does not have. */
function allowed({ tools }: Agent, { allowed_tools }: StepOf<"agent">): readonly string[] {
  return allowed_tools === null ? tools : toolsInBoth(tools, allowed_tools);
}

/** The delegates have tools of their own, so a step that restricts the agent's tools must allow delegation by name. */
function mayDelegate({ allowed_tools }: StepOf<"agent">): boolean {
  return allowed_tools === null || allowed_tools.includes(DELEGATE_TOOL);
}
