import type { Step } from "../../shared/contracts/definition/index.ts";
import type { RunEvent } from "../../shared/contracts/event.ts";
import type { Json } from "../../shared/contracts/json.ts";
import type { Progress } from "../../shared/journal/fold.ts";

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
