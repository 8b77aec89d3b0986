import { z } from "zod";
import { DefinitionId } from "../ids.ts";
import { limits, orDefault, orNull, required, Strings, text } from "./fields.ts";

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
  /** Characters of a conversation beyond which its oldest messages become a summary; null: by the model. */
  compact_at_chars: orNull(z.number().int().min(10_000).max(10_000_000)),
  /** The agents to which this one may give tasks. */
  delegate_agent_ids: orDefault(z.array(DefinitionId).max(limits.delegates).default([])),
});
export type AgentDocument = z.infer<typeof AgentDocument>;

/** The tool by which an agent gives a task to another one. */
export const DELEGATE_TOOL = "delegate_to_agent";

/** An agent that the engine can execute: it answers by itself, with the tools and the agents that it names. */
export type Agent = Omit<AgentDocument, "type"> & {
  type: "conversational" | "code" | "analysis" | "delegate";
};

export function isRunnableAgent(agent: AgentDocument): agent is Agent {
  return agent.type !== "orchestrator" && agent.type !== "builder";
}
