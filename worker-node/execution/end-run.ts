import type { RunEvent } from "../../shared/contracts/event.ts";
import type { Checkpoint, EndRecord, Usage } from "../../shared/contracts/journal-entry.ts";
import type { Json } from "../../shared/contracts/json.ts";
import type { RunError } from "../../shared/contracts/run.ts";
import { endEvents } from "../../shared/journal/ending.ts";
import { initialProgress } from "../../shared/journal/fold.ts";
import type { Progress } from "../../shared/journal/fold.ts";
import { log } from "../../shared/log.ts";
import type { DeadLetter } from "../../shared/store/journal/new-entry.ts";
import { stepError } from "../engine/events.ts";
import { finalResponse } from "../engine/machine.ts";
import { confirmResults, largeValuesAt } from "./execution-state.ts";
import type { Ended, ExecutionState } from "./execution-state.ts";
import { operatorTrace, traceOf } from "./failure-trace.ts";
import { ifStored } from "./large-values.ts";

/** What a run ends with besides its status. */
type EndParts = {
  error?: RunError | null;
  /** The last step's result, which nothing has committed yet, and the run's progress with it. */
  last?: { checkpoint: Checkpoint; response: Json | undefined; progress: Progress } | null;
  events?: readonly RunEvent[];
  usage?: readonly Usage[];
  deadLetter?: DeadLetter | null;
};

/** What is known of a failure besides its error: the step's tries, when the first of them failed, and what was thrown. */
export type FailureParts = Pick<EndParts, "events" | "usage"> & {
  tries?: number;
  firstFailedAt?: string;
  cause?: unknown;
};

/**
 * Ends a run with its last entry: the last step's result if it is still to be committed, the events that close the run,
 * and with a failure its dead letter.
 *
 * When Postgres will never take that entry, the run fails with `result_rejected` and without the result. When Postgres
 * rejects that entry too, the run fails with an end that holds nothing of the run but the error.
 *
 * @throws Stop `superseded` when another worker moves the run
 */
export async function endRun(
  state: ExecutionState,
  status: EndRecord["status"],
  parts: EndParts = {},
): Promise<Ended> {
  const { run, steps, pendingEvents, runLog } = state;
  const { error = null, last = null, events = [], usage = [], deadLetter = null } = parts;
  const progress = last?.progress ?? state.progress;
  const response =
    status === "completed"
      ? finalResponse(progress, last?.response)
      : (error?.message ?? "The run was cancelled.");
  const record: EndRecord = { status, checkpoint: last?.checkpoint ?? null, response, error };
  const large = largeValuesAt(state, `end.${run.attempt}`);
  const closing = endEvents({ run_id: run.run_id, steps }, record, progress);
  const outcome = await runLog.append({
    kind: "end",
    step_path: last?.checkpoint.step ?? null,
    visit: last?.checkpoint.visit ?? null,
    output: JSON.stringify(record),
    events: [...pendingEvents, ...events, ...(await ifStored(large.storeEvents(closing), closing))],
    usage,
    status,
    error: error === null ? null : JSON.stringify(error),
    dead_letter: deadLetter ?? (error && { ...error, stack: null, tries: 1, first_failed_at: null }),
  });
  if (outcome.is === "committed") return { is: "ended" };
  if (outcome.is !== "rejected") return { is: "dropped" };
  const earlier = await confirmResults(state);
  if (earlier) return failRejected(state, earlier);
  const rejected = { code: "result_rejected", message: outcome.message, step_id: null };
  if (status !== "failed") return failRun(state, rejected);
  if (steps.length === 0 && pendingEvents.length === 0) {
    throw new Error(`the end of ${run.run_id} cannot be stored: ${outcome.message}`);
  }
  // Drop every value that Postgres may have rejected: a run that cannot end is executed, and paid for, again and again.
  return failRun({ ...state, steps: [], progress: initialProgress({}), pendingEvents: [] }, rejected);
}

/**
 * Ends a run in failure, with a dead letter that says where it happened. A tenant may read the dead letter, so the texts of
 * the thrown error are in the log alone.
 */
export async function failRun(
  state: ExecutionState,
  error: RunError,
  more: FailureParts = {},
): Promise<Ended> {
  const { events = [], usage = [], tries = 1, firstFailedAt = null, cause } = more;
  if (cause !== undefined) {
    const { code, step_id: step } = error;
    log.warn("run.failed", { run: state.run.run_id, step, code, trace: operatorTrace(cause, process.env) });
  }
  const deadLetter = { ...error, stack: traceOf(cause), tries, first_failed_at: firstFailedAt };
  return endRun(state, "failed", { error, deadLetter, events, usage });
}

/** Ends a run in failure because Postgres will never take a step's result. */
export function failRejected(
  state: ExecutionState,
  { step, message }: { step: string; message: string },
): Promise<Ended> {
  return failStep(state, step, { code: "result_rejected", message });
}

/** Ends a run in failure because of a step, which has its own event; null: no step was running. */
export function failStep(
  state: ExecutionState,
  stepId: string | null,
  error: { code: string; message: string },
  more: Omit<FailureParts, "events"> = {},
): Promise<Ended> {
  const step = state.steps.find(({ id }) => id === stepId);
  if (step === undefined) return failRun(state, { ...error, step_id: null }, more);
  return failRun(state, { ...error, step_id: step.id }, { ...more, events: [stepError(step, error)] });
}
