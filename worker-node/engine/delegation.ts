import { DELEGATE_TOOL, parseAgent } from "../../shared/contracts/definition/index.ts";
import { modelOf } from "../../shared/contracts/model-name.ts";
import { compactAtBytes } from "../../shared/contracts/model-window.ts";
import { systemMessage } from "./chat.ts";
import { resultBytes } from "./call-tool.ts";
import { childError } from "./child-result.ts";
import { CallIsOpen, TerminalError, ToolRejection } from "./step-errors.ts";
import { runForCall, spawnTool } from "./spawn-run.ts";
import { openToolbox } from "./toolbox.ts";
import { workOn } from "./agent-work.ts";
import { clip } from "./prompt.ts";
import type { Agent, ConversationalAgent, Orchestrator } from "../../shared/contracts/definition/index.ts";
import type { RunEvent } from "../../shared/contracts/event.ts";
import type { Json } from "../../shared/contracts/json.ts";
import type { AgentWork } from "./agent-work.ts";
import type { Message, StepContext } from "./ports.ts";
import type { OfferedTool, CallToPerform } from "./offered-tool.ts";

/** How often a task may be handed on: from the step's agent to a delegate, and from delegate to delegate twice more. */
const MAX_DEPTH = 3;
/** Characters of an agent's description that the model of another one gets. */
const DESCRIPTION_CHARS = 500;

/** @throws TerminalError `unknown_agent` or `bad_agent` */
export async function loadAgent(id: string, context: StepContext): Promise<Agent> {
  const stored = await context.agent(id);
  if (stored === null) throw new TerminalError("unknown_agent", `there is no agent "${id}"`);
  const parsed = parseAgent(stored);
  if (parsed.ok) return parsed.definition;
  throw new TerminalError("bad_agent", `the definition of the agent "${id}" cannot be used`);
}

/** How a conversation of an agent begins. */
export function openingOf({ system_prompt }: ConversationalAgent, task: string): Message[] {
  return [...systemMessage(system_prompt), { role: "user", content: task }];
}

/**
 * The tool by which an agent gives a task to another agent. There is none when the agent has no delegates, or when `depth` agents above
 * it have handed the task on, which is the most. A delegate that does not exist fails the step, as a tool does.
 */
export async function delegateTools(
  agent: ConversationalAgent,
  depth: number,
  work: Omit<AgentWork, "toolbox">,
): Promise<OfferedTool[]> {
  if (agent.delegate_agent_ids.length === 0 || depth >= MAX_DEPTH) return [];
  const loaded = agent.delegate_agent_ids.map((id) => loadAgent(id, work.context));
  const delegates = new Map((await Promise.all(loaded)).map((delegate) => [delegate.id, delegate]));
  const lines = [...delegates.values()].map(
    ({ id, name, description }) => `- ${id}: ${name}. ${clip(description, DESCRIPTION_CHARS)}`,
  );
  const description =
    "Gives a task to another agent, which has tools of its own, and returns its answer. The agent knows nothing of this " +
    `conversation: the task must say everything that it needs.\n${lines.join("\n")}`;
  const parameters = {
    type: "object",
    properties: {
      agent_id: { type: "string", enum: [...delegates.keys()] },
      task: { type: "string", description: "What the agent shall do, with all that it must know" },
    },
    required: ["agent_id", "task"],
    additionalProperties: false,
  };
  return [
    {
      spec: { name: DELEGATE_TOOL, description, parameters },
      parallel: true,
      perform: async ({ args, at, charge }) => {
        const { agent_id, task } = args;
        const delegate = typeof agent_id === "string" ? delegates.get(agent_id) : undefined;
        if (delegate === undefined || typeof task !== "string" || task.trim() === "")
          throw new ToolRejection(
            "task must be a text that is not empty, and agent_id one of the listed agents",
          );
        if (delegate.type === "orchestrator") return outputOfRun(delegate, task, { at, charge }, work);
        return answerOf(delegate, { from: agent, task, at, depth: depth + 1 }, work);
      },
    },
  ];
}

/**
 * Lets an orchestrator do its task: the step waits for the end of a run of the orchestration. The run is started once, however often
 * the call is repeated. Its failure is reported to the agent that gave the task.
 */
async function outputOfRun(
  { id, orchestration_id: orchestrationId }: Orchestrator,
  message: string,
  { at, charge }: Pick<CallToPerform, "at" | "charge">,
  { step, context, conversation }: Omit<AgentWork, "toolbox">,
): Promise<Json> {
  // The execution after the wait finds the task begun, and does not publish the call again.
  if (!conversation.hasBegunTask(at)) await conversation.ofTask(at, context, []).commit();
  const reply = await runForCall({ orchestrationId, message, waits: true }, { step, context, at, charge });
  if (reply.is !== "ended") throw new CallIsOpen();
  const error = childError(reply);
  if (error === null) return reply.end.response;
  throw new ToolRejection(`${id}: ${error.message}`, { code: error.code });
}

/** A task that one agent gives to another. `from`: the agent that gives it. `at`: the name of the tool call by which it does. */
type Task = { from: ConversationalAgent; task: string; at: string; depth: number };

/**
 * Lets a delegate do its task. A delegate that reaches its `max_turns` has no answer, which is reported to the agent that gave the task.
 */
async function answerOf(
  delegate: ConversationalAgent,
  { from, task, at, depth }: Task,
  above: Omit<AgentWork, "toolbox">,
): Promise<Json> {
  const context = asDelegate(above.context, from, delegate);
  const model = modelOf(delegate.model, delegate.provider) ?? above.model;
  const window = await context.windowTokens(model);
  const work = {
    ...above,
    context,
    conversation: above.conversation.ofTask(at, context, openingOf(delegate, task)),
    model,
    compactAtBytes: delegate.compact_at_chars ?? compactAtBytes(window),
    resultBytes: resultBytes(window),
    maxTurns: delegate.max_turns ?? above.step.max_turns,
    schema: null,
    isDelegated: true,
  };
  const toolbox = await openToolbox(delegate.tools, work.step, context, {
    first: await delegateTools(delegate, depth, work),
    spawn: spawnTool(delegate, work.step, context),
  });
  try {
    return await workOn({ ...work, toolbox });
  } catch (error) {
    if (!(error instanceof TerminalError) || error.code !== "max_turns") throw error;
    throw new ToolRejection(`${delegate.id}: ${error.message}`, { code: error.code, cause: error });
  }
}

/** The context of a delegate: its events name it, and the agent that gave it the task. */
function asDelegate(
  context: StepContext,
  from: ConversationalAgent,
  delegate: ConversationalAgent,
): StepContext {
  const names = {
    delegate_from: from.id,
    delegate_agent_id: delegate.id,
    delegate_agent_name: delegate.name,
  };
  const named = (event: RunEvent): RunEvent => {
    switch (event.type) {
      // The names of a delegate further below stay.
      case "context_compacted":
      case "llm_thought":
      case "tool_execution":
      case "tool_result":
        return { ...names, ...event };
      default:
        return event;
    }
  };
  return { ...context, note: (...events) => context.note(...events.map(named)) };
}
