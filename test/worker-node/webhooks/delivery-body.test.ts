import { expect, test } from "vitest";
import { RunId } from "../../../shared/contracts/ids.ts";
import { writeLine } from "../../../shared/events/lines.ts";
import type { DueDelivery } from "../../../shared/store/webhooks/claim-deliveries.ts";
import { bodyOf } from "../../../worker-node/webhooks/delivery-body.ts";

const COMPLETE = writeLine(
  { type: "orchestration_complete", status: "failed", final_state: { a: 1, "lone \udfff": "nul \u0000" } },
  new Date(0),
  "c-1",
);
const finalLine = (response: string) =>
  writeLine(
    { type: "final", response, intent: "orchestration", data: {}, tool_name: null },
    new Date(0),
    "c-1",
  );

const failed: DueDelivery = {
  delivery_id: "whd_2483e1773407_1780499750067_9",
  run_id: RunId.parse("run_2483e1773407_1780499750067"),
  seq: 9,
  tenant_id: "acme",
  host: "h",
  orchestration_id: "orch",
  type: "run.failed",
  url: "https://h/",
  root_run_id: null,
  secret: null,
  endpoint_id: null,
  previous_secret: null,
  status: "failed",
  tokens: 12,
  cost_micro_usd: 3_500,
  started_at_ms: 1_780_499_750_123,
  ended_at_ms: 1_780_499_751_000,
  error: '{"code":"boom","message":"it broke","step_id":"two"}',
  metadata: '{"order":1,"lone \\udfff":"nul \\u0000"}',
  turn: null,
  traceparent: null,
  tries: 1,
  failures: 0,
};
const ended = [finalLine("of a step"), COMPLETE, finalLine("it broke"), '{"type":"done"}'].join("\n");

// Fails when a receiver cannot see that the body is not all, or when a body has no bound.
test("the body of an end whose events are too long says that it is truncated", () => {
  const body = JSON.parse(bodyOf(failed, null));
  expect(body).toMatchObject({ status: "failed", output: null, final_state: null, truncated: true });
  expect(JSON.parse(bodyOf(failed, ended))).not.toHaveProperty("truncated");
});

// Fails when the `final` event of a step is taken for the run's.
test("the body of a run's end has its output, its final state, its error and its cost in USD", () => {
  expect(JSON.parse(bodyOf(failed, ended))).toEqual({
    type: "run.failed",
    run_id: "run_2483e1773407_1780499750067",
    orchestration_id: "orch",
    tenant_id: "acme",
    status: "failed",
    output: "it broke",
    final_state: { a: 1, "lone \udfff": "nul \u0000" },
    error: { code: "boom", message: "it broke", step_id: "two" },
    total_cost_usd: 0.0035,
    total_tokens_used: 12,
    started_at: "2026-06-03T15:15:50.123Z",
    ended_at: "2026-06-03T15:15:51.000Z",
    metadata: { order: 1, "lone \udfff": "nul \u0000" },
    correlation_id: "c-1",
  });
});

test("the body of a pause has the question, and no output", () => {
  const question = {
    type: "human_input_required",
    orch_step_id: "approve",
    step_name: "Approve",
    prompt: "Go on?",
    fields: [{ name: "ok", type: "boolean" }],
    channel_id: null,
    correlation_id: "c-1",
  };
  const waiting: DueDelivery = {
    ...failed,
    type: "run.waiting",
    status: "paused",
    error: null,
    ended_at_ms: null,
  };
  const bodyWith = (event: object) =>
    JSON.parse(bodyOf(waiting, [finalLine("of a step"), JSON.stringify(event)].join("\n")));
  const body = bodyWith({ ...question, expires_at: "2026-06-04T00:00:00.000Z" });
  expect(body).toMatchObject({ type: "run.waiting", status: "paused", output: null, ended_at: null });
  expect(body).toMatchObject({ correlation_id: "c-1", final_state: null });
  expect(body.waiting).toEqual({
    step_id: "approve",
    prompt: "Go on?",
    fields: question.fields,
    expires_at: "2026-06-04T00:00:00.000Z",
  });
  expect(bodyWith({ ...question, expires_at: null }).waiting).not.toHaveProperty("expires_at");
  expect(body).not.toHaveProperty("root_run_id");
  const root_run_id = RunId.parse("run_000000000000_1780499750067");
  const ofChild = { ...waiting, root_run_id };
  expect(JSON.parse(bodyOf(ofChild, null))).toMatchObject({ run_id: waiting.run_id, root_run_id });
  const questionPart = {
    path: "fan[0].approve",
    approvers: ["ann"],
    approvals_needed: null,
    question_id: "q",
  };
  expect(bodyWith({ ...question, ...questionPart }).waiting).toMatchObject(questionPart);
  // The group of an escalation gets the whole question.
  const escalated = { ...question, ...questionPart, type: "human_escalated", level: 1, approvers: ["bob"] };
  expect(bodyWith(escalated).waiting).toMatchObject({
    ...questionPart,
    prompt: "Go on?",
    level: 1,
    approvers: ["bob"],
  });
});

// Fails when a receiver learns of one of several questions alone: the run would wait for the others until they expire.
test("the body of a pause has all questions that one call asks, of a chat turn too", () => {
  const asked = (name: string) => ({
    type: "human_input_required",
    orch_step_id: "chat",
    prompt: name,
    fields: [],
    question_id: `chat:1:tool.1.1.ask.1.${name}`,
    correlation_id: "c-1",
  });
  const events = [asked("a"), asked("b"), { type: "paused" }]
    .map((event) => JSON.stringify(event))
    .join("\n");
  const waiting: DueDelivery = { ...failed, type: "run.waiting", status: "paused", error: null };
  const session = { session_id: "sess_1", agent_id: "helper", reply: null, tool_calls: null };
  const turn: DueDelivery = { ...waiting, turn: JSON.stringify(session) };
  for (const delivery of [waiting, turn]) {
    const body = JSON.parse(bodyOf(delivery, events));
    expect(body.waits.map(({ prompt }: { prompt: string }) => prompt)).toEqual(["a", "b"]);
    expect(body.waiting).toEqual(body.waits[0]);
    expect(body.waiting.question_id).toBe("chat:1:tool.1.1.ask.1.a");
    expect(JSON.parse(bodyOf(delivery, null))).toMatchObject({ waiting: null, waits: [], truncated: true });
  }
  expect(JSON.parse(bodyOf(turn, events))).toMatchObject({ type: "chat.waiting", session_id: "sess_1" });
});

test("without its journal entry a body has what the delivery row holds", () => {
  expect(JSON.parse(bodyOf(failed, null))).toMatchObject({
    status: "failed",
    output: null,
    final_state: null,
    total_tokens_used: 12,
  });
});
