/** An orchestration of four model steps, each of about a second: long enough for a fault in between. */
import type { JsonObject } from "../../shared/contracts/json.ts";

export const STEPS = ["a", "b", "c", "d"];

export const fourTexts: JsonObject & { id: string } = {
  id: "orch_long",
  name: "Four texts",
  entry_step_id: "a",
  steps: STEPS.map((id, i) => ({
    id,
    name: id,
    type: "llm",
    model: "demo/writer",
    prompt_template: "Write",
    output_key: id,
    next_step_id: STEPS[i + 1] ?? null,
  })),
};
