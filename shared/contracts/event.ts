import type { Json, JsonObject } from "./json.ts";

/** The fields of an event that consists of its type alone. */
type NoFields = Record<string, never>;
type StepRef = { orch_step_id: string; step_name: string };

/**
 * The events of a run by type, as clients see them. `ts` and `correlation_id` are added when an event's line is
 * written, `run_id` and `seq` when it is sent.
 */
export type EventFields = {
  worker_picked_up: { worker_id: string; attempt: number };
  orchestration_start: { orchestration_id: string; orchestration_name: string };
  step_start: StepRef & { step_type: string };
  step_complete: StepRef & { duration_seconds: number };
  step_error: StepRef & { error: string; code: string };
  step_warning: StepRef & { message: string };
  step_retry: StepRef & { error: string; code: string; attempt: number; retry_in_seconds: number };
  thinking: StepRef & { message: string };
  /** A piece of a model's text. `first`: it begins an answer. `DELTA_RULE` says how the pieces are joined. */
  llm_delta: { orch_step_id: string; text: string; first?: true };
  /** What an agent says before it calls tools. A long thought is divided: its parts have the same `turn`. */
  llm_thought: StepRef & { thought: string; turn: number };
  tool_execution: StepRef & { tool_name: string; args: Json };
  tool_result: StepRef & { tool_name: string; preview: string };
  routing_decision: StepRef & { decision: string; target_step_id: string | null; reasoning: string };
  if_decision: StepRef & { condition: string; decision: boolean; target_step_id: string | null };
  switch_decision: StepRef & {
    expression: string;
    value: string;
    matched_case: string | null;
    target_step_id: string | null;
  };
  human_input_required: StepRef & {
    /** The id by which an answer names this question. Absent until the question is stored. */
    question_id?: string;
    prompt: string;
    fields: Json;
    channel_id: string | null;
    agent_context: Json;
    expires_at: string;
  };
  /** The run waits for a human, and occupies no worker meanwhile. */
  paused: NoFields;
  human_response: StepRef & { response: Json };
  loop_limit_reached: { orch_step_id: string; iterations: number; max_iterations: number };
  parallel_start: StepRef & { branch_count: number };
  branch_start: StepRef & { branch_index: number };
  parallel_complete: StepRef & { branch_count: number };
  loop_start: StepRef & { total: number };
  /** `iteration` counts from 1; `index` in templates from 0. */
  loop_iteration: StepRef & { iteration: number; total: number };
  loop_complete: StepRef & { iterations_completed: number };
  merge_complete: StepRef & { input_count: number; strategy: string };
  transform_result: StepRef & { result: Json };
  /** A checkpoint inside a step that has no other event. */
  checkpoint: NoFields;
  /** A client retries the run after its end: from its last result, or from before the named step's result. */
  run_retried: { from_step_id: string | null };
  orchestration_end: { orch_step_id: string };
  orchestration_complete: { status: "completed" | "failed" | "cancelled"; final_state: JsonObject };
  orchestration_error: { error: string; code: string };
  final: {
    response: Json;
    intent: string;
    data: Json;
    tool_name: string | null;
    orch_step_id?: string;
    step_name?: string;
  };
  done: NoFields;
};

export type EventType = keyof EventFields;

/**
 * An event before its line is written: its type and its fields. `path`: where its step is, if it is in a branch or a loop
 * (`fanout[1].draft`).
 */
export type RunEvent = {
  [Type in EventType]: EventFields[Type] extends NoFields
    ? { type: Type }
    : { type: Type; path?: string } & EventFields[Type];
}[EventType];
