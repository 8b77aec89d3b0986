import type { Step } from "../../shared/contracts/definition/index.ts";
import type { RunEvent } from "../../shared/contracts/event.ts";
import { shownName } from "../../shared/journal/ending.ts";
import { stepPath } from "../../shared/journal/track.ts";
import type { Track } from "../../shared/journal/track.ts";

/** How events name a step. */
export function namesOf(step: Step): { orch_step_id: string; step_name: string } {
  return { orch_step_id: step.id, step_name: shownName(step.id, step.name) };
}

/** The event of a step with the step's path, if it is in a branch or a loop. */
export function inTrack(track: Pick<Track, "path">, event: RunEvent): RunEvent {
  if (track.path === "" || !("orch_step_id" in event) || event.orch_step_id === undefined) return event;
  return { ...event, path: stepPath(track, event.orch_step_id) };
}

/** The event with which a visit of a step begins. */
export function stepStart(step: Step, track: Pick<Track, "path">): RunEvent {
  return inTrack(track, { type: "step_start", ...namesOf(step), step_type: step.type });
}

/** The event of a step that has failed for good. */
export function stepError(step: Step, error: { code: string; message: string }): RunEvent {
  return { type: "step_error", ...namesOf(step), error: error.message, code: error.code };
}

/** The event of a failed try that another one follows. `tryNumber`: of the failed try, from 1. The public event calls it `attempt`. */
export function stepRetry(
  step: Step,
  error: { code: string; message: string },
  tryNumber: number,
  afterMs: number,
): RunEvent {
  const retry_in_seconds = Math.round(afterMs / 10) / 100;
  return {
    type: "step_retry",
    ...namesOf(step),
    error: error.message,
    code: error.code,
    attempt: tryNumber,
    retry_in_seconds,
  };
}
