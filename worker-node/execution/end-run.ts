import type { RunEvent } from "../../shared/contracts/event.ts";
import type { EndRecord, Usage } from "../../shared/contracts/journal-entry.ts";
import type { RunError } from "../../shared/contracts/run.ts";
import { endEvents } from "../../shared/journal/ending.ts";
import { initialProgress } from "../../shared/journal/fold.ts";
import { stepOfPath } from "../../shared/journal/track.ts";
import { aboutRun, log } from "../../shared/log.ts";
import type { DeadLetter } from "../../shared/store/journal/new-entry.ts";
import { stepError } from "../engine/events.ts";
import { finalResponse } from "../engine/machine.ts";
import { confirmResults, largeValuesAt } from "./execution-state.ts";
import type { Ended, ExecutionState, RejectedResult } from "./execution-state.ts";
import { operatorTrace, traceOf } from "./failure-trace.ts";
import { ifStored } from "./large-values.ts";
import { readProgress } from "./read-progress.ts";
import type { Result } from "./visit-result.ts";
import { waitForStore } from "./wait-for-store.ts";

/** What a run ends with besides its status. */
type EndParts = {
  error?: RunError | null;
  /** The last step's result, which no entry has committed yet. The run's progress contains it. */
  last?: Pick<Result, "checkpoint" | "response" | "events" | "usage" | "artifacts"> | null;
  events?: readonly RunEvent[];
  usage?: readonly Usage[];
  deadLetter?: DeadLetter | null;
};

/** What is known of a failure besides its error: the step's tries, when the first of them failed, and what was thrown. */
export type FailureParts = Pick<EndParts, "events" | "usage"> & {
  tries?: number;
  firstFailedAt?: string | null;
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
  const { progress } = state;
  state.span?.set({ "synapse.run.status": status });
  if (error !== null) state.span?.fail(error);
  const response =
    status === "completed"
      ? finalResponse(progress, last?.response)
      : (error?.message ?? "The run was cancelled.");
  const record: EndRecord = { status, checkpoint: last?.checkpoint ?? null, response, error };
  const large = largeValuesAt(state, `end.${run.attempt}`);
  // Without a limit, even where the run's own time is over: without the answer of its turn the history would stay wrong.
  const reply = await state.reply?.row(status === "completed", (of) =>
    waitForStore(run, new AbortController().signal, () => state.deps.store.readTurnText(of)),
  );
  const closing = endEvents({ run_id: run.run_id, steps }, record, progress);
  const outcome = await runLog.append({
    kind: "end",
    step_path: last?.checkpoint.step ?? null,
    visit: last?.checkpoint.visit ?? null,
    output: JSON.stringify(record),
    events: [
      ...pendingEvents,
      ...(last?.events ?? []),
      ...events,
      ...(await ifStored(large.storeEvents(closing), closing)),
    ],
    usage: [...(last?.usage ?? []), ...usage, ...state.unchargedUsage],
    artifacts: last?.artifacts ?? [],
    status,
    error: error === null ? null : JSON.stringify(error),
    ...(reply && { reply }),
    dead_letter: deadLetter ?? (error && { ...error, stack: null, tries: 1, first_failed_at: null }),
  });
  if (outcome.is === "committed") return { is: "ended" };
  if (outcome.is !== "rejected") return { is: "dropped" };
  const earlier = await confirmResults(state);
  if (earlier) return failRejected(state, earlier);
  if (last) await readProgress(state, new AbortController().signal);
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
    const stack = operatorTrace(cause, process.env);
    log.warn("run.failed", { ...aboutRun(state.run), step, code, stack });
  }
  // Of a single try the first failure is the last one, which has the time of the commit.
  const first_failed_at = tries > 1 ? firstFailedAt : null;
  const deadLetter = { ...error, stack: traceOf(cause), tries, first_failed_at };
  return endRun(state, "failed", { error, deadLetter, events, usage });
}

/** Ends a run in failure because Postgres will never take the result of a step. The results before that one stay. */
export async function failRejected(state: ExecutionState, { step, message }: RejectedResult): Promise<Ended> {
  state.rejected = null;
  await readProgress(state, new AbortController().signal);
  return failStep(state, step, { code: "result_rejected", message });
}

/** The id of the step at a path. */
export function stepIdOf(path: string | null): string | null {
  return path === null ? null : stepOfPath(path);
}

/** Ends a run in failure because of the step at `path`, which has its own event; null: no step was running. */
export function failStep(
  state: ExecutionState,
  path: string | null,
  error: { code: string; message: string },
  more: Omit<FailureParts, "events"> = {},
): Promise<Ended> {
  const step = state.steps.find(({ id }) => id === stepIdOf(path));
  if (step === undefined) return failRun(state, { ...error, step_id: null }, more);
  const event = stepError(step, error);
  const at = path === null || path === step.id ? event : { ...event, path };
  return failRun(
    state,
    { code: error.code, message: error.message, step_id: step.id },
    { ...more, events: [at] },
  );
}
