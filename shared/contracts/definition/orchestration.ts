import { z } from "zod";
import { DefinitionId } from "../ids.ts";
import { JsonValue } from "../json.ts";
import { limits, orDefault, orNull, Public, required, StateKey, tableOf, text } from "./fields.ts";
import { Step } from "./step.ts";

/** The type of a key of state, and its value when a run begins. */
export const StateField = z.object({
  type: orDefault(z.string().max(50).default("string")),
  default: JsonValue.optional(),
  description: text(limits.descriptionChars),
});

/** An orchestration as its author writes it, with all 15 types of steps. */
export const OrchestrationDocument = z.object({
  id: DefinitionId,
  name: required(limits.nameChars, "is required: an orchestration must have a name"),
  description: text(limits.descriptionChars),
  avatar: orDefault(z.string().max(limits.nameChars).default("default")),
  steps: z.array(Step).min(1, "must have at least one step").max(limits.steps),
  entry_step_id: required(255, "must name the step that a run begins with"),
  state_schema: orDefault(tableOf(limits.schemaKeys, StateKey, StateField).default({})),
  /** A run with this many step results fails unless it has ended. */
  max_total_turns: orDefault(z.number().int().min(1).max(limits.totalTurns).default(100)),
  /** A run that has cost this much fails unless it has ended. USD; null: no limit. */
  max_total_cost_usd: orNull(z.number().positive().max(1_000_000)),
  timeout_minutes: orDefault(z.number().positive().max(43_200).default(30)),
  trigger: orDefault(z.enum(["manual", "scheduled"]).default("manual")),
  public: Public,
});
export type OrchestrationDocument = z.infer<typeof OrchestrationDocument>;

/** An orchestration whose graph has been checked. */
export type Orchestration = OrchestrationDocument;
