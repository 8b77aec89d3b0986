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
});
export type AgentDocument = z.infer<typeof AgentDocument>;

/** An agent that the engine can execute: it answers by itself, with the tools that it names. */
export type Agent = Omit<AgentDocument, "type"> & { type: "conversational" | "code" | "analysis" };

export function isRunnableAgent(agent: AgentDocument): agent is Agent {
  return agent.type === "conversational" || agent.type === "code" || agent.type === "analysis";
}
