import { z } from "zod";
import { ToolCalls } from "../../shared/contracts/chat.ts";
import { JsonValue } from "../../shared/contracts/json.ts";
import { RunError } from "../../shared/contracts/run.ts";
import { TEST_TYPE } from "../../shared/contracts/webhook.ts";
import { linesOf } from "../../shared/events/lines.ts";
import { isoTime } from "../../shared/text/iso-time.ts";
import type { DueDelivery } from "../../shared/store/webhooks/claim-deliveries.ts";

const questionFields = {
  question_id: z.string().optional(),
  orch_step_id: z.string(),
  path: z.string().optional(),
  prompt: z.string(),
  fields: JsonValue,
  expires_at: z.string().nullish(),
  approvers: z.array(z.string()).optional(),
  approvals_needed: z.number().nullish(),
  correlation_id: z.string().optional(),
};

/** The event lines of a journal entry that a delivery's body quotes. */
const DeliverySnapshot = z.discriminatedUnion("type", [
  z.object({
    type: z.literal("orchestration_complete"),
    final_state: JsonValue,
    correlation_id: z.string().optional(),
  }),
  z.object({ type: z.literal("final"), response: JsonValue }),
  z.object({ type: z.literal("human_input_required"), ...questionFields }),
  z.object({ type: z.literal("human_escalated"), level: z.number(), ...questionFields }),
]);
type DeliverySnapshot = z.infer<typeof DeliverySnapshot>;
type QuestionEvent = Extract<DeliverySnapshot, { type: "human_input_required" | "human_escalated" }>;

function isQuestion(event: DeliverySnapshot): event is QuestionEvent {
  return event.type === "human_input_required" || event.type === "human_escalated";
}

/**
 * The body of a delivery, as JSON text. It is byte for byte the same on every try, because it depends on the delivery and its
 * journal entry alone, and not on what the run has done since. Times are ISO 8601, money is in USD. Values over 32 KiB
 * are references, as in events. Where the events are too long for one body, `output`, `final_state` and the question are
 * null, and `truncated` says that the receiver has to read them with the API.
 * @param events the event lines of the delivery's journal entry; null when they are too long, or the entry is deleted
 */
export function bodyOf(delivery: DueDelivery, events: string | null): string {
  if (delivery.type === TEST_TYPE) return testBodyOf(delivery);
  if (delivery.turn !== null) return turnBodyOf(delivery, delivery.turn, events);
  const { type, run_id, root_run_id, orchestration_id, tenant_id, status, error } = delivery;
  const snapshot = snapshotOf(events);
  // Steps have `final` events too; the run's own is the last.
  const complete = snapshot.findLast((event) => event.type === "orchestration_complete");
  const final = snapshot.findLast((event) => event.type === "final");
  const questions = snapshot.filter(isQuestion);
  const isWaiting = type === "run.waiting";
  return JSON.stringify({
    type,
    run_id,
    ...(root_run_id !== null && { root_run_id }),
    orchestration_id,
    tenant_id,
    status,
    output: isWaiting ? null : (final?.response ?? null),
    final_state: isWaiting ? null : (complete?.final_state ?? null),
    error: error === null ? null : RunError.parse(JSON.parse(error)),
    total_cost_usd: delivery.cost_micro_usd / 1_000_000,
    total_tokens_used: delivery.tokens,
    started_at: isoTime(delivery.started_at_ms),
    ended_at: isoTime(delivery.ended_at_ms),
    metadata: delivery.metadata === null ? {} : JSON.parse(delivery.metadata),
    correlation_id: (isWaiting ? questions[0] : complete)?.correlation_id ?? null,
    ...(events === null && { truncated: true }),
    ...(isWaiting && waitsOf(questions)),
  });
}

function snapshotOf(events: string | null): DeliverySnapshot[] {
  return (events === null ? [] : linesOf(events)).flatMap((line) => {
    const parsed = DeliverySnapshot.safeParse(JSON.parse(line));
    return parsed.success ? [parsed.data] : [];
  });
}

/** The body of the test of an endpoint. `started_at` is the time of the request for it. */
function testBodyOf({ endpoint_id, tenant_id, started_at_ms }: DueDelivery): string {
  return JSON.stringify({ type: TEST_TYPE, endpoint_id, tenant_id, requested_at: isoTime(started_at_ms) });
}

/** What the delivery of a chat turn quotes of its session. The texts are null when the session has been deleted. */
const TurnOfDelivery = z.object({
  session_id: z.string(),
  agent_id: z.string().nullable(),
  reply: z.string().nullable(),
  tool_calls: z.string().nullable(),
});

/** The body for a chat turn. Its texts do not change: the history only grows. */
function turnBodyOf(delivery: DueDelivery, turn: string, events: string | null): string {
  const { session_id, agent_id, reply, tool_calls } = TurnOfDelivery.parse(JSON.parse(turn));
  const {
    type,
    run_id,
    tenant_id,
    status,
    error,
    cost_micro_usd,
    tokens,
    metadata,
    started_at_ms,
    ended_at_ms,
  } = delivery;
  return JSON.stringify({
    type: type.replace("run.", "chat."),
    session_id,
    turn_id: run_id,
    agent_id,
    tenant_id,
    status,
    message: reply === null ? null : { role: "assistant", content: reply },
    tool_calls: ToolCalls.parse(JSON.parse(tool_calls ?? "[]")),
    error: error === null ? null : RunError.parse(JSON.parse(error)),
    total_cost_usd: cost_micro_usd / 1_000_000,
    total_tokens_used: tokens,
    started_at: isoTime(started_at_ms),
    ended_at: isoTime(ended_at_ms),
    metadata: metadata === null ? {} : JSON.parse(metadata),
    correlation_id: correlationOf(events),
    ...(type === "run.waiting" && {
      ...(events === null && { truncated: true }),
      ...waitsOf(snapshotOf(events).filter(isQuestion)),
    }),
  });
}

const Correlated = z.object({ correlation_id: z.string() });

/** Every event line has the correlation id of its run. */
function correlationOf(events: string | null): string | null {
  const line = events === null ? undefined : linesOf(events).at(-1);
  return line === undefined ? null : (Correlated.safeParse(JSON.parse(line)).data?.correlation_id ?? null);
}

/** The questions with which a pause begins, as in a status: an MCP server may ask several in one call. `waiting` is the first of them. */
function waitsOf(questions: readonly QuestionEvent[]) {
  const waits = questions.map(waitingOf);
  return { waiting: waits[0] ?? null, waits };
}

/** `approvers`: of an escalation the group that the question goes to now. What a question does not have is absent. */
function waitingOf(question: QuestionEvent) {
  const { question_id, orch_step_id: step_id, path, prompt, fields, expires_at } = question;
  const { approvers, approvals_needed } = question;
  const group = approvers && { approvers, approvals_needed: approvals_needed ?? null };
  const level = question.type === "human_escalated" ? { level: question.level } : {};
  const expires = expires_at ? { expires_at } : {};
  return { question_id, step_id, path, prompt, fields, ...expires, ...group, ...level };
}
