import type { Step } from "../../shared/contracts/definition/index.ts";
import type { RunEvent } from "../../shared/contracts/event.ts";
import type { EndRecord } from "../../shared/contracts/journal.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import type { Progress } from "../../shared/journal/fold.ts";
import { publicState } from "./state.ts";

/** How events name a step. */
export function named(step: Step): { orch_step_id: string; step_name: string } {
  return { orch_step_id: step.id, step_name: step.name === "" ? step.id : step.name };
}

export function stepStart(step: Step): RunEvent {
  return { type: "step_start", ...named(step), step_type: step.type };
}

export function stepError(step: Step, error: { code: string; message: string }): RunEvent {
  return { type: "step_error", ...named(step), error: error.message, code: error.code };
}

/** `attempt` is the try that failed, counted from 1. */
export function stepRetry(
  step: Step,
  error: { code: string; message: string },
  attempt: number,
  afterMs: number,
): RunEvent {
  const retry_in_seconds = Math.round(afterMs / 10) / 100;
  return {
    type: "step_retry",
    ...named(step),
    error: error.message,
    code: error.code,
    attempt,
    retry_in_seconds,
  };
}

/**
 * What a completed run answers with: what its last step said (`last`, a step's `response`), else the value of the last
 * result that was given a key, else a sentence.
 */
export function finalResponse(progress: Progress, last: Json | undefined): Json {
  if (last !== undefined) return last;
  const withKey = progress.history.findLast(
    ({ output_key }) => output_key !== null && Object.hasOwn(progress.state, output_key),
  );
  const value = withKey?.output_key ? progress.state[withKey.output_key] : undefined;
  return value ?? `Completed after ${progress.history.length} steps.`;
}

/** The events that end a run. `progress` includes the result that `end` carries. */
export function endEvents(
  run: { run_id: string; steps: readonly Step[] },
  end: EndRecord,
  progress: Progress,
): RunEvent[] {
  const state = publicState(progress.state);
  const data: JsonObject = {
    run_id: run.run_id,
    status: end.status,
    step_history: historyOf(run.steps, end, progress),
    shared_state: state,
  };
  // A failure inside a step has been told by its step_error.
  const runError: RunEvent[] =
    end.error !== null && end.error.step_id === null
      ? [{ type: "orchestration_error", error: end.error.message, code: end.error.code }]
      : [];
  return [
    ...runError,
    { type: "orchestration_complete", status: end.status, final_state: state },
    { type: "final", response: end.response, intent: "orchestration", data, tool_name: null },
    { type: "done" },
  ];
}

function historyOf(steps: readonly Step[], end: EndRecord, progress: Progress): Json[] {
  const results = progress.history.map((result): Json => {
    const startedMs = Date.parse(result.started_at);
    return {
      step_id: result.step,
      step_name: result.name === "" ? result.step : result.name,
      step_type: result.type,
      status: "completed",
      started_at: result.started_at,
      ended_at: new Date(startedMs + result.duration_ms).toISOString(),
      duration_seconds: Math.round(result.duration_ms / 10) / 100,
      output_key: result.output_key,
    };
  });
  const failedStep = steps.find((step) => step.id === end.error?.step_id);
  if (end.error === null || failedStep === undefined) return results;
  const { orch_step_id, step_name } = named(failedStep);
  return [
    ...results,
    {
      step_id: orch_step_id,
      step_name,
      step_type: failedStep.type,
      status: "failed",
      error: end.error.message,
    },
  ];
}
