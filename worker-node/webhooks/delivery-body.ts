import { z } from "zod";
import { JsonValue } from "../../shared/contracts/json.ts";
import { RunError } from "../../shared/contracts/run.ts";
import type { DueDelivery } from "../../shared/store/webhooks/claim-deliveries.ts";

/** The event lines that a body is made of. */
const Told = z.discriminatedUnion("type", [
  z.object({
    type: z.literal("orchestration_complete"),
    final_state: JsonValue,
    correlation_id: z.string().optional(),
  }),
  z.object({ type: z.literal("final"), response: JsonValue }),
  z.object({
    type: z.literal("human_input_required"),
    question_id: z.string().optional(),
    orch_step_id: z.string(),
    prompt: z.string(),
    fields: JsonValue,
    expires_at: z.string().nullish(),
    correlation_id: z.string().optional(),
  }),
]);
type Told = z.infer<typeof Told>;

/**
 * What a receiver gets, as JSON text: byte for byte the same on each try, whatever has become of the run since. Times
 * are ISO 8601, money is in USD. Values over 32 KiB are references, as they are in events.
 * @param events the lines of the entry that it tells of; null when that is not in the journal any more
 */
export function bodyOf(delivery: DueDelivery, events: string | null): string {
  const { type, run_id, orchestration_id, tenant_id, status, error } = delivery;
  const told = (events?.split("\n") ?? []).flatMap((line): Told[] => {
    const parsed = Told.safeParse(JSON.parse(line));
    return parsed.success ? [parsed.data] : [];
  });
  // Steps say `final` too: the run's own comes last.
  const complete = told.findLast((event) => event.type === "orchestration_complete");
  const final = told.findLast((event) => event.type === "final");
  const asked = told.findLast((event) => event.type === "human_input_required");
  const isWaiting = type === "run.waiting";
  return JSON.stringify({
    type,
    run_id,
    orchestration_id,
    tenant_id,
    status,
    output: isWaiting ? null : (final?.response ?? null),
    final_state: isWaiting ? null : (complete?.final_state ?? null),
    error: error === null ? null : RunError.parse(JSON.parse(error)),
    total_cost_usd: delivery.cost_micro_usd / 1_000_000,
    total_tokens_used: delivery.tokens,
    started_at: timeOf(delivery.started_at_ms),
    ended_at: timeOf(delivery.ended_at_ms),
    correlation_id: (isWaiting ? asked : complete)?.correlation_id ?? null,
    ...(isWaiting && { waiting: asked ? waitingOf(asked) : null }),
  });
}

function waitingOf(asked: Extract<Told, { type: "human_input_required" }>) {
  const { question_id, orch_step_id, prompt, fields, expires_at } = asked;
  const named = question_id === undefined ? {} : { question_id };
  return { ...named, step_id: orch_step_id, prompt, fields, ...(expires_at && { expires_at }) };
}

function timeOf(ms: number | null): string | null {
  return ms === null ? null : new Date(ms).toISOString();
}
