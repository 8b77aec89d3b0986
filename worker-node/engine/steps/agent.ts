import { parseAgent } from "../../../shared/contracts/definition/index.ts";
import { Conversation } from "../conversation.ts";
import { deltas } from "../deltas.ts";
import { TerminalError } from "../errors.ts";
import { named } from "../events.ts";
import { compose } from "../prompt.ts";
import { callTool, openToolbox, specsOf, told } from "../toolbox.ts";
import { modelOf } from "./model-of.ts";
import { output } from "./output.ts";
import type { Agent, StepOf } from "../../../shared/contracts/definition/index.ts";
import type { StepContext, StepResult, ToolCall } from "../ports.ts";
import type { Toolbox } from "../toolbox.ts";
import type { Executor } from "./executor.ts";

/**
 * Lets an agent work on the task with its tools until it answers without calling one.
 *
 * Each answer with tool calls and each round of tools is committed before the next goes out, so a crash (or a retry of
 * the step) goes on in the middle. A round that was cut off is made again as a whole, under the same effect keys. An
 * agent that is still calling tools after `max_turns` answers has not answered: the step fails.
 */
export const agent: Executor<"agent"> = async (step, context) => {
  const definition = await loadAgent(step.agent_id, context);
  const box = await openToolbox(allowed(definition, step), context);
  const talk = new Conversation(context, [
    ...(definition.system_prompt === ""
      ? []
      : [{ role: "system" as const, content: definition.system_prompt }]),
    { role: "user", content: await compose(step, step.prompt_template, context) },
  ]);
  const model = modelOf(step.model) ?? modelOf(definition.model, definition.provider);
  for (;;) {
    if (talk.last?.role === "assistant") {
      await callTools(talk, talk.last.tool_calls, box, step, context);
      continue;
    }
    if (talk.answers >= step.max_turns) {
      throw new TerminalError("max_turns", `the agent has not come to an answer in ${step.max_turns} turns`);
    }
    const shown = deltas(step, context);
    const answer = await talk.ask({ model, tools: specsOf(box), toolChoice: "auto", onText: shown.push });
    shown.flush();
    if (answer.tool_calls.length === 0) return result(answer.content, talk, step);
    if (answer.content !== "") {
      context.note({ type: "llm_thought", ...named(step), thought: answer.content, turn: talk.answers });
    }
    await talk.commit();
  }
};

/** All calls of one answer, in their order. */
async function callTools(
  talk: Conversation,
  calls: readonly ToolCall[],
  box: Toolbox,
  step: StepOf<"agent">,
  context: StepContext,
): Promise<void> {
  const turn = talk.answers;
  for (const [index, call] of calls.entries()) {
    const key = await talk.effect(`tool.${turn}.${index + 1}`);
    const content = told(await callTool(call, box, key, step, context));
    talk.add({ role: "tool", tool_call_id: call.id, tool_name: call.name, content });
  }
  await talk.commit();
}

function result(text: string, talk: Conversation, step: StepOf<"agent">): StepResult {
  if (text.trim() === "") throw new TerminalError("empty_answer", "the model answered with no text");
  return {
    set: output(step, text),
    events: [{ type: "final", response: text, intent: "agent", data: null, tool_name: null, ...named(step) }],
    usage: talk.usage,
    response: text,
    effects: talk.effects,
  };
}

async function loadAgent(id: string, context: StepContext): Promise<Agent> {
  const stored = await context.agent(id);
  if (stored === null) throw new TerminalError("unknown_agent", `there is no agent "${id}"`);
  const parsed = parseAgent(stored);
  if (parsed.ok) return parsed.definition;
  throw new TerminalError("bad_agent", `the definition of the agent "${id}" cannot be used`);
}

/** The agent's tools, narrowed by the step; a step cannot give an agent what it does not have. */
function allowed(definition: Agent, step: StepOf<"agent">): string[] {
  const { allowed_tools } = step;
  return definition.tools.filter((name) => allowed_tools === null || allowed_tools.includes(name));
}
