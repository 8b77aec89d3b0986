import type { RunEvent } from "../contracts/event.ts";
import type { EndRecord } from "../contracts/journal-entry.ts";
import type { Json, JsonObject } from "../contracts/json.ts";
import { isoTime } from "../text/iso-time.ts";
import { publicState } from "./fold.ts";
import type { Progress } from "./fold.ts";

/** The part of a step that the end of a run shows when the step has no result. */
type StepName = { id: string; name: string; type: string };

/**
 * The events that end a run. Its worker uses them, and the edge when it ends a run that waits. `progress` includes the
 * result that `end` carries. `steps` are those of the definition: a failed step has no result to take its name from.
 */
export function endEvents(
  run: { run_id: string; steps: readonly StepName[] },
  end: EndRecord,
  progress: Progress,
): RunEvent[] {
  const state = publicState(progress.state);
  const data: JsonObject = {
    run_id: run.run_id,
    status: end.status,
    step_history: historyOf(run.steps, end, progress),
    step_count: progress.resultCount,
    shared_state: state,
  };
  // A failure inside a step has its own event, step_error.
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

function historyOf(steps: readonly StepName[], end: EndRecord, progress: Progress): Json[] {
  const results = progress.history.map((result): Json => {
    return {
      step_id: result.step,
      step_name: shownName(result.step, result.name),
      step_type: result.type,
      ...(result.path === result.step ? {} : { path: result.path }),
      status: result.error === undefined ? "completed" : "failed",
      started_at: result.started_at,
      ended_at: endOf(result),
      duration_seconds: Math.round(result.duration_ms / 10) / 100,
      output_key: result.output_key,
      ...(result.error === undefined ? {} : { error: result.error.message }),
    };
  });
  const failed = steps.find((step) => step.id === end.error?.step_id);
  if (end.error === null || failed === undefined) return results;
  return [
    ...results,
    {
      step_id: failed.id,
      step_name: shownName(failed.id, failed.name),
      step_type: failed.type,
      status: "failed",
      error: end.error.message,
    },
  ];
}

/** A step without effects takes no millisecond in most cases, and dates were a tenth of the time of an end. */
function endOf({ started_at, duration_ms }: { started_at: string; duration_ms: number }): string {
  return duration_ms === 0 ? started_at : isoTime(Date.parse(started_at) + duration_ms);
}

/** The name of a step in events and results: its id when its definition has none. */
export function shownName(id: string, name: string): string {
  return name === "" ? id : name;
}
