import { z } from "zod";
import { AnsweredBy } from "./approval.ts";
import { JsonRecord, JsonValue } from "./json.ts";

/** The schemas of texts that a reference may replace when they have over 32 KiB: the API's document says so. */
export const largeTexts = z.registry<{ isLarge: true }>();

const largeText = () => z.string().register(largeTexts, { isLarge: true });

const StepRef = z.object({ orch_step_id: z.string(), step_name: z.string() });
const NestedRun = z.object({ nested_run_id: z.string(), nested_orch_id: z.string() });
/** The fields of an event of a delegate: the agent that gave the task, and the delegate. Absent for the step's own agent. */
const Delegated = {
  delegate_from: z.string().exactOptional(),
  delegate_agent_id: z.string().exactOptional(),
  delegate_agent_name: z.string().exactOptional(),
};
const NoFields = z.object({});

/**
 * The events of a run by type, as clients see them. `ts` and `correlation_id` are added when an event's line is
 * written, `run_id` and `seq` when it is sent.
 */
export const eventSchemas = {
  worker_picked_up: z.object({ worker_id: z.string(), attempt: z.number().int() }),
  /** Of a chat turn: the first event after its pickup. */
  session: z.object({ session_id: z.string(), turn_id: z.string(), agent_id: z.string() }),
  orchestration_start: z.object({ orchestration_id: z.string(), orchestration_name: z.string() }),
  step_start: StepRef.extend({ step_type: z.string() }),
  step_complete: StepRef.extend({ duration_seconds: z.number() }),
  step_error: StepRef.extend({ error: largeText(), code: z.string() }),
  step_warning: StepRef.extend({ message: largeText() }),
  step_retry: StepRef.extend({
    error: largeText(),
    code: z.string(),
    attempt: z.number().int(),
    retry_in_seconds: z.number(),
  }),
  thinking: StepRef.extend({ message: largeText() }),
  /** A piece of a model's text. `first`: it begins an answer. `DELTA_RULE` says how the pieces are joined. */
  llm_delta: z.object({ orch_step_id: z.string(), text: z.string(), first: z.literal(true).exactOptional() }),
  /** What an agent says before it calls tools. A long thought is divided: its parts have the same `turn`. */
  llm_thought: StepRef.extend({ thought: z.string(), turn: z.number().int(), ...Delegated }),
  /** A crash has cut off the model's answer, which begins anew. `wasted_usd`: the estimated cost of the call that was cut off. */
  llm_restart: StepRef.extend({ model: z.string(), wasted_usd: z.number() }),
  /** A model call of the step waits for its provider: a limit, or the circuit breaker, which `code` says. It is no failure. */
  provider_wait: StepRef.extend({
    model: z.string(),
    code: z.enum(["provider_limit", "provider_open"]),
    message: z.string(),
    retry_in_seconds: z.number(),
  }),
  /** A model's answer was kept from an earlier call with the same request: nothing is called, or paid. */
  llm_cached: StepRef.extend({ model: z.string(), age_seconds: z.number() }),
  /** The oldest messages of a chat's history were summarized: the model gets the summary in their place from here on. */
  history_compacted: StepRef.extend({
    messages: z.number().int(),
    chars_before: z.number().int(),
    chars_after: z.number().int(),
  }),
  /** The oldest `message_count` messages of an agent's conversation were replaced by a summary. */
  context_compacted: StepRef.extend({
    message_count: z.number().int(),
    chars_before: z.number().int(),
    chars_after: z.number().int(),
    ...Delegated,
  }),
  tool_execution: StepRef.extend({ tool_name: z.string(), args: JsonValue, ...Delegated }),
  tool_result: StepRef.extend({ tool_name: z.string(), preview: z.string(), ...Delegated }),
  routing_decision: StepRef.extend({
    decision: z.string(),
    target_step_id: z.string().nullable(),
    reasoning: largeText(),
  }),
  if_decision: StepRef.extend({
    condition: largeText(),
    decision: z.boolean(),
    target_step_id: z.string().nullable(),
  }),
  switch_decision: StepRef.extend({
    expression: largeText(),
    value: largeText(),
    matched_case: z.string().nullable(),
    target_step_id: z.string().nullable(),
  }),
  human_input_required: StepRef.extend({
    /** The id by which an answer names this question. Absent until the question is stored. */
    question_id: z.string().exactOptional(),
    prompt: largeText(),
    fields: JsonValue,
    channel_id: z.string().nullable(),
    agent_context: JsonValue,
    expires_at: z.string(),
    /** The only persons who may answer, and how many of them must approve (null: the first answer counts). */
    approvers: z.array(z.string()).exactOptional(),
    approvals_needed: z.number().int().nullable().exactOptional(),
  }),
  /** An open question goes to a further group, the `level`-th; those before it may still answer. */
  human_escalated: StepRef.extend({
    question_id: z.string().exactOptional(),
    level: z.number().int(),
    approvers: z.array(z.string()),
    approvals_needed: z.number().int().nullable(),
    prompt: largeText(),
    fields: JsonValue,
    channel_id: z.string().nullable(),
    expires_at: z.string(),
  }),
  /**
   * No answer came in time: the defaults are the answer, or the run goes to `target_step_id`. `cancel`: an MCP server asked, and learns
   * that it gets no answer.
   */
  human_timed_out: StepRef.extend({
    question_id: z.string().exactOptional(),
    on_timeout: z.enum(["default", "route", "cancel"]),
    target_step_id: z.string().nullable(),
  }),
  /** A wait step has begun to wait. */
  timer_started: StepRef.extend({ until: z.iso.datetime() }),
  /** A budget has no room for a model call of the step: the run waits for it, or the call uses a cheaper model. */
  budget_reached: StepRef.extend({
    budget_id: z.string(),
    action: z.enum(["pause", "downgrade"]),
    message: z.string(),
    /** The model that the call uses instead; null: the run waits. */
    model: z.string().nullable(),
  }),
  /**
   * The run waits for a human, a time, another run or a budget in every branch that has not ended, and occupies no worker
   * meanwhile.
   */
  paused: NoFields,
  /** `question_id`: of the question that it answers. `answered_by`: null when no answer came in time and the defaults count. */
  human_response: StepRef.extend({
    question_id: z.string().exactOptional(),
    response: JsonValue,
    answered_by: AnsweredBy.nullable().exactOptional(),
  }),
  loop_limit_reached: z.object({
    orch_step_id: z.string(),
    iterations: z.number().int(),
    max_iterations: z.number().int(),
  }),
  parallel_start: StepRef.extend({ branch_count: z.number().int() }),
  branch_start: StepRef.extend({ branch_index: z.number().int() }),
  parallel_complete: StepRef.extend({ branch_count: z.number().int() }),
  loop_start: StepRef.extend({ total: z.number().int() }),
  /** `iteration` counts from 1; `index` in templates from 0. */
  loop_iteration: StepRef.extend({ iteration: z.number().int(), total: z.number().int() }),
  loop_complete: StepRef.extend({ iterations_completed: z.number().int() }),
  /** The step has started a run, whose events are in a stream of its own. `waits`: the step goes on when that run has ended. */
  child_started: StepRef.extend({ ...NestedRun.shape, waits: z.boolean() }),
  child_completed: StepRef.extend({
    ...NestedRun.shape,
    status: z.enum(["completed", "failed", "cancelled"]),
    error: largeText().nullable(),
  }),
  merge_complete: StepRef.extend({ input_count: z.number().int(), strategy: z.string() }),
  transform_result: StepRef.extend({ result: JsonValue }),
  /** A checkpoint inside a step that has no other event. */
  checkpoint: NoFields,
  /** A client retries the run after its end: from its last result, or from before the named step's result. */
  run_retried: z.object({ from_step_id: z.string().nullable() }),
  orchestration_end: z.object({ orch_step_id: z.string() }),
  orchestration_complete: z.object({
    status: z.enum(["completed", "failed", "cancelled"]),
    final_state: JsonRecord,
  }),
  orchestration_error: z.object({ error: largeText(), code: z.string() }),
  final: z.object({
    response: JsonValue,
    intent: z.string(),
    data: JsonValue,
    tool_name: z.string().nullable(),
    orch_step_id: z.string().exactOptional(),
    step_name: z.string().exactOptional(),
  }),
  done: NoFields,
};

/** The fields of an event that consists of its type alone. */
type NoFields = Record<string, never>;
/** The fields of an event besides its type, by type. */
export type EventFields = { [Type in keyof typeof eventSchemas]: z.infer<(typeof eventSchemas)[Type]> };
/** The type of an event. */
export type EventType = keyof EventFields;

/**
 * An event before its line is written: its type and its fields. `path`: the path of its step, if that is in a branch or a loop
 * (`fanout[1].draft`).
 */
export type RunEvent = {
  [Type in EventType]: EventFields[Type] extends NoFields
    ? { type: Type }
    : { type: Type; path?: string } & EventFields[Type];
}[EventType];
