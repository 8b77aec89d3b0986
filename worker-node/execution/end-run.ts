import type { Step } from "../../shared/contracts/definition/index.ts";
import type { RunEvent } from "../../shared/contracts/event.ts";
import type { Checkpoint, EndRecord, Usage } from "../../shared/contracts/journal-entry.ts";
import type { Json } from "../../shared/contracts/json.ts";
import type { RunError } from "../../shared/contracts/run.ts";
import { endEvents } from "../../shared/journal/ending.ts";
import { start } from "../../shared/journal/fold.ts";
import type { Progress } from "../../shared/journal/fold.ts";
import type { ClaimedRun } from "../../shared/store/runs/claim-runs.ts";
import type { DeadLetter } from "../../shared/store/journal/flush.ts";
import { finalResponse } from "../engine/events.ts";
import type { EntryWriter } from "../journal/entry.ts";
import { LargeValues, ifStored } from "./large-values.ts";
import type { ObjectStore } from "./large-values.ts";

/** A run as far as its execution has brought it, and where its end is to be written. */
export type ExecutionState = {
  readonly run: ClaimedRun;
  /** Of its definition; none as long as that has not been read. */
  steps: readonly Step[];
  /** As far as the journal tells: without a result that is on its way there. */
  progress: Progress;
  /** What is to be told with the first thing that is committed, which may be the end. */
  untold: readonly RunEvent[];
  readonly entries: EntryWriter;
  readonly artifacts: ObjectStore | null;
};

/** The run has ended, or somebody else has ended it. */
export type Ended = { is: "ended" } | { is: "dropped" };

/** What a run ends with besides its status. */
type EndParts = {
  error?: RunError | null;
  /** The last step's result, which nothing has committed yet, and what the run has come to by it. */
  last?: { checkpoint: Checkpoint; response: Json | undefined; progress: Progress } | null;
  events?: readonly RunEvent[];
  usage?: readonly Usage[];
  deadLetter?: DeadLetter | null;
};

/** What a failure tells besides its error: `tries` of the step, when the first of them failed, and what was thrown. */
export type FailureParts = Pick<EndParts, "events" | "usage"> & {
  tries?: number;
  firstFailedAt?: string;
  cause?: unknown;
};

/**
 * Ends a run with its last entry: the last step's result if it is still to be committed, the events that close it, and
 * with a failure its dead letter.
 *
 * An end that Postgres will never take becomes a failure that says so, without the result that was in it; and that, if it
 * is not taken either, one that tells nothing of the run but that. Throws a Stop (`lost`) when the run is another's.
 */
export async function endRun(
  standing: ExecutionState,
  status: EndRecord["status"],
  parts: EndParts = {},
): Promise<Ended> {
  const { run, steps, untold, entries, artifacts } = standing;
  const { error = null, last = null, events = [], usage = [], deadLetter = null } = parts;
  const progress = last?.progress ?? standing.progress;
  const response =
    status === "completed"
      ? finalResponse(progress, last?.response)
      : (error?.message ?? "The run was cancelled.");
  const record: EndRecord = { status, checkpoint: last?.checkpoint ?? null, response, error };
  const large = new LargeValues(artifacts, `${run.tenant_id}/${run.run_id}/end.${run.attempt}`);
  const closing = endEvents({ run_id: run.run_id, steps }, record, progress);
  const outcome = await entries.append({
    kind: "end",
    step_path: last?.checkpoint.step ?? null,
    visit: last?.checkpoint.visit ?? null,
    output: JSON.stringify(record),
    events: [...untold, ...events, ...(await ifStored(large.outOfEvents(closing), closing))],
    usage,
    steps: last ? 1 : 0,
    deadline_ms: 0,
    current_step: null,
    status,
    wake_ms: null,
    waits: [],
    error: error === null ? null : JSON.stringify(error),
    dead_letter: deadLetter ?? (error && { ...error, stack: null, tries: 1, first_failed_at: null }),
  });
  if (outcome.is === "committed") return { is: "ended" };
  if (outcome.is !== "rejected") return { is: "dropped" };
  const rejected = { code: "result_rejected", message: outcome.message, step_id: null };
  if (status !== "failed") return failRun(standing, rejected);
  if (standing.steps.length === 0 && untold.length === 0) {
    throw new Error(`the end of ${run.run_id} cannot be stored: ${outcome.message}`);
  }
  // Whatever it was that Postgres does not take: a run that cannot end would be executed, and paid for, again and again.
  return failRun({ ...standing, steps: [], progress: start({}), untold: [] }, rejected);
}

/** Ends a run in failure, with a dead letter that tells operators more than clients are told. */
export async function failRun(
  standing: ExecutionState,
  error: RunError,
  more: FailureParts = {},
): Promise<Ended> {
  const { events = [], usage = [], tries = 1, firstFailedAt = null, cause } = more;
  const stack = cause instanceof Error ? stackOf(cause) : null;
  const deadLetter = { ...error, stack, tries, first_failed_at: firstFailedAt };
  return endRun(standing, "failed", { error, deadLetter, events, usage });
}

/** An error's stack with those of its causes. */
function stackOf(error: Error): string {
  const own = error.stack ?? error.message;
  return error.cause instanceof Error ? `${own}\ncaused by ${stackOf(error.cause)}` : own;
}
