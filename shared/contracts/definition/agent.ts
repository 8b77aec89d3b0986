import { z } from "zod";
import type { FieldError } from "../../errors.ts";
import { DefinitionId } from "../ids.ts";
import { limits, orDefault, orNull, Public, required, Strings, text } from "./fields.ts";

/** An agent as its author writes it. */
export const AgentDocument = z.object({
  id: DefinitionId,
  name: required(limits.nameChars, "is required: an agent must have a name"),
  description: text(limits.descriptionChars),
  avatar: orDefault(z.string().max(limits.nameChars).default("default")),
  /** `analysis` is an old name for `conversational`. */
  type: orDefault(
    z
      .enum(["conversational", "code", "analysis", "orchestrator", "delegate", "builder"])
      .default("conversational"),
  ),
  system_prompt: text(limits.promptChars),
  tools: Strings(limits.tools),
  model: orNull(z.string().max(limits.nameChars)),
  provider: orNull(z.string().max(limits.nameChars)),
  max_turns: orNull(z.number().int().min(1).max(100)),
  /** Of an orchestrator: what it runs in place of a conversation with a model. */
  orchestration_id: orNull(DefinitionId),
  /** The orchestrations that the agent may start with `spawn_run`. */
  orchestration_ids: orDefault(z.array(DefinitionId).max(limits.tools).default([])),
  /** The size of a conversation beyond which its oldest messages become a summary, in bytes of UTF-8: one for each letter of English. Null: by the model. */
  compact_at_chars: orNull(z.number().int().min(10_000).max(10_000_000)),
  /** The agents to which this one may give tasks. */
  delegate_agent_ids: orDefault(z.array(DefinitionId).max(limits.delegates).default([])),
  public: Public,
});
export type AgentDocument = z.infer<typeof AgentDocument>;

/** The tool by which an agent gives a task to another one. */
export const DELEGATE_TOOL = "delegate_to_agent";

/** An agent that answers by itself, with the tools and the agents that it names. */
export type ConversationalAgent = Omit<AgentDocument, "type"> & {
  type: "conversational" | "code" | "analysis" | "delegate";
};
/** An agent whose answer is that of a child run. */
export type Orchestrator = Omit<AgentDocument, "type" | "orchestration_id"> & {
  type: "orchestrator";
  orchestration_id: string;
};
/** An agent that the engine can execute. */
export type Agent = ConversationalAgent | Orchestrator;

/** The agent as the engine executes it; null: its type is not built yet. An orchestrator has its `orchestration_id`: see `agentErrors`. */
export function runnableAgent(agent: AgentDocument): Agent | null {
  const { type, orchestration_id } = agent;
  if (type === "builder") return null;
  if (type !== "orchestrator") return { ...agent, type };
  return orchestration_id === null ? null : { ...agent, type, orchestration_id };
}

/** Fields of an agent that do not fit its type. */
export function agentErrors({
  type,
  orchestration_id,
  tools,
  orchestration_ids,
}: AgentDocument): FieldError[] {
  const isOrchestrator = type === "orchestrator";
  const errors: FieldError[] = [];
  if (isOrchestrator && orchestration_id === null)
    errors.push({ path: "orchestration_id", message: "is required: an orchestrator must name what it runs" });
  if (!isOrchestrator && orchestration_id !== null)
    errors.push({
      path: "orchestration_id",
      message: `is read on agents of type orchestrator, and this is of type ${type}`,
    });
  if (orchestration_ids.length > 0 && !tools.includes("spawn_run"))
    errors.push({
      path: "orchestration_ids",
      message: "is read by the tool spawn_run, which the agent does not name",
    });
  return errors;
}
