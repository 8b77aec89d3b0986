import type { Orchestration, Step } from "../../shared/contracts/definition/index.ts";
import type { RunEvent } from "../../shared/contracts/event.ts";
import type { Incarnation } from "../../shared/contracts/ids.ts";
import type { ParkRecord, Usage } from "../../shared/contracts/journal-entry.ts";
import type { Progress } from "../../shared/journal/fold.ts";
import type { ClaimedRun } from "../../shared/store/runs/claim-runs.ts";
import type { NewWait } from "../../shared/store/runs/waits.ts";
import type { StateStore } from "../../shared/store/state.ts";
import type { Models, Tools } from "../engine/ports.ts";
import type { SharedSandbox } from "../engine/sandbox.ts";
import type { Journal } from "../journal/journal.ts";
import type { AppendOutcome, RunLog } from "../journal/run-log.ts";
import type { Definitions } from "./definitions.ts";
import { LargeValues } from "./large-values.ts";
import type { ObjectStore } from "./object-store.ts";
import type { StateSize } from "./state-size.ts";

/** What all executions of a worker share. */
export type ExecutionDeps = {
  owner: Incarnation;
  journal: Journal;
  definitions: Definitions;
  models: Models;
  tools: Tools;
  sandbox: Pick<SharedSandbox, "of">;
  artifacts: ObjectStore | null;
  store: Pick<StateStore, "readInput" | "readStoredPage" | "readWaits">;
  /** Throws unless this worker may still move the run. */
  confirm(run: ClaimedRun, signal: AbortSignal): Promise<void>;
};

/** How far the execution of a run has come. */
export type ExecutionState = {
  readonly run: ClaimedRun;
  readonly runLog: RunLog;
  readonly deps: ExecutionDeps;
  /** The steps of the run's definition; none until that has been read. */
  steps: readonly Step[];
  /** The fold of the committed entries and of the unconfirmed results. */
  progress: Progress;
  /** Appended results, in order, for whose outcome the execution has not waited yet. */
  unconfirmed: Unconfirmed[];
  /** The size of its state. */
  size: StateSize;
  /** Model calls of a stopped visit: the entry that ends the run charges them. */
  unchargedUsage: readonly Usage[];
  /** Events for the run's next entry, which may be its end. */
  pendingEvents: readonly RunEvent[];
};

/** A result on its way to Postgres. `before`: the run's progress without it. */
export type Unconfirmed = { step: string; before: Progress; outcome: Promise<AppendOutcome> };

/**
 * Waits until the unconfirmed results are committed.
 * @returns null, or the step whose result Postgres will never take: `state` is then as it was before that result
 * @throws Stop `superseded` when another worker moves the run
 */
export async function confirmResults(
  state: ExecutionState,
): Promise<{ step: string; message: string } | null> {
  for (const { step, before, outcome: pending } of state.unconfirmed.splice(0)) {
    const outcome = await pending;
    if (outcome.is !== "rejected") continue;
    state.progress = before;
    state.unconfirmed = [];
    return { step, message: outcome.message };
  }
  return null;
}

/** What all steps of a run have in common. `signal` also aborts when the run's time is over. */
export type Walk = {
  definition: Orchestration;
  /** The message that started the run. */
  message: string;
  /** When the run's time is over, by this process's monotonic clock. */
  endsAtMs: number;
  signal: AbortSignal;
};

/** A wait that is too long to hold the run's slot. */
export type Parked = {
  is: "wait";
  /** `queued`: until a time. `paused`: for an answer from outside, at most until a time. That time is in `afterMs`. */
  status: "queued" | "paused";
  afterMs: number;
  park: ParkRecord;
  waits: readonly NewWait[];
  /**
   * The run's signals before the decision to wait: when more have come since, the park is refused. Null: no signal
   * matters to this wait.
   */
  signals: number | null;
  events: readonly RunEvent[];
  usage: readonly Usage[];
};

/** `ended`: this worker ended the run. `dropped`: the run is not this worker's any more. */
export type Ended = { is: "ended" } | { is: "dropped" };

/** How an execution left its run: ended or dropped, parked (`delayMs` to its wake-up), or stopped and still this worker's. */
export type Ending =
  | Ended
  | { is: "parked"; status: "queued" | "paused"; delayMs: number }
  | { is: "stopped" };

/** The large values that the run stores at `place`: its input, an end, or a visit of a step. */
export function largeValuesAt({ run, deps }: ExecutionState, place: string): LargeValues {
  return new LargeValues(deps.artifacts, `${run.tenant_id}/${run.run_id}/${place}`);
}
