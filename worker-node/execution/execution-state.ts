import type { FileReference } from "../../shared/contracts/artifact.ts";
import type { Orchestration, Step } from "../../shared/contracts/definition/index.ts";
import type { RunEvent } from "../../shared/contracts/event.ts";
import type { Incarnation, TenantId } from "../../shared/contracts/ids.ts";
import type { ParkRecord, Usage } from "../../shared/contracts/journal-entry.ts";
import type { JsonObject } from "../../shared/contracts/json.ts";
import type { LaneSettingsOf } from "../../shared/contracts/lane-settings.ts";
import type { Count } from "../../shared/metrics.ts";
import type { Progress } from "../../shared/journal/fold.ts";
import type { Track } from "../../shared/journal/track.ts";
import type { JobName } from "../../shared/queue/job.ts";
import type { QuotaCheckedBy } from "../../shared/store/runs/accept-runs.ts";
import type { ClaimedRun } from "../../shared/store/runs/claim-runs.ts";
import type { SignalledRun } from "../../shared/store/runs/family.ts";
import type { NewWait } from "../../shared/store/runs/waits.ts";
import type { StateStore } from "../../shared/store/state.ts";
import type { Span } from "../../shared/tracing/span.ts";
import type { CurrentTracing } from "../tracing/tracing.ts";
import type { Models, Tools } from "../engine/ports.ts";
import type { SharedSandbox } from "../engine/sandbox.ts";
import type { FileStore } from "../files/file-store.ts";
import type { Prices } from "../models/prices.ts";
import type { Journal } from "../journal/journal.ts";
import type { Append, RunLog } from "../journal/run-log.ts";
import type { Definitions } from "./definitions.ts";
import { LargeValues } from "./large-values.ts";
import { LIMITS } from "./object-store.ts";
import type { ObjectStore } from "./object-store.ts";
import type { RunLimit } from "./run-limit.ts";
import type { StateSize } from "./state-size.ts";
import type { TurnReply } from "./turn-reply.ts";
import type { TrackLimiter } from "./track-limiter.ts";

/** What all executions of a worker share. */
export type ExecutionDeps = {
  owner: Incarnation;
  journal: Journal;
  definitions: Definitions;
  models: Models;
  /** The model of steps that name none, for a tenant. */
  defaultModel(tenant: TenantId, signal: AbortSignal): Promise<string>;
  /** The tokens that a model takes in one request. */
  windowTokens(model: string): Promise<number>;
  prices: Pick<Prices, "refresh" | "quote" | "errorOf" | "nameOf" | "replaced">;
  tools: Tools;
  sandbox: Pick<SharedSandbox, "of">;
  /** The object store at this moment; null: this worker has none. A call goes on with the store that it began with. */
  artifacts: () => ObjectStore | null;
  files: () => FileStore | null;
  /** Limits how many branches and iterations are in a step with effects at the same time. */
  trackLimiter: TrackLimiter;
  children: ChildStarts;
  store: Pick<
    StateStore,
    | "readInput"
    | "readStoredPage"
    | "readWaits"
    | "readChatHistory"
    | "saveChatSummary"
    | "readTurnText"
    | "startChild"
    | "cancelChild"
    | "abandonTrack"
    | "readRunFiles"
    | "reserveFile"
    | "reserveInBudgets"
    | "releaseReservation"
    | "readCutText"
    | "readKeptAnswer"
    | "keepAnswers"
  >;
  /** Counts what the metrics of the fleet show. */
  count: Count;
  tracing: CurrentTracing;
  laneSettings: LaneSettingsOf;
  /** Throws unless this worker may still move the run. */
  confirm(run: ClaimedRun, signal: AbortSignal): Promise<void>;
};

/** How executions reach the queue for the runs that they start. */
export type ChildStarts = {
  /**
   * Decides whether a child may be started now, by the limits that hold for every run of the tenant. It never throws. `traceparent`:
   * that of the run that starts the child.
   */
  admit(child: JobName, traceparent?: string | null): Promise<ChildAdmission>;
  /** Gives back a place that no run will take. It returns at once; when the call to the queue fails, the place lapses. */
  giveBack(child: JobName): void;
  /**
   * Enqueues runs that have become due, and sends a hint to the workers of those that run. It returns at once; the reconciler
   * repairs a failure.
   */
  notify(runs: readonly SignalledRun[]): void;
};

/** `wait`: there is no room in the queue, or it cannot be asked; `why` is a part of a sentence for people. */
export type ChildAdmission =
  | { is: "admitted"; quotaCheckedBy: QuotaCheckedBy }
  | { is: "wait"; afterMs: number; why: string };

/** How far the execution of a run has come. */
export type ExecutionState = {
  readonly run: ClaimedRun;
  readonly runLog: RunLog;
  readonly deps: ExecutionDeps;
  /** The time of `performance.now()` at which the execution began. */
  readonly beganMs: number;
  /** The span of the execution; null: this worker does not trace. */
  readonly span: Span | null;
  /** The steps of the run's definition; none until that has been read. */
  steps: readonly Step[];
  /** The state before the first step. */
  initial: JsonObject;
  /** The fold of the committed entries and of the unconfirmed results. */
  progress: Progress;
  /** For each appended result whose outcome is not known yet, a promise of the outcome. */
  readonly unconfirmed: Set<Promise<void>>;
  /** The first result that Postgres will never take. */
  rejected: RejectedResult | null;
  /** The size of the run's state. */
  readonly size: StateSize;
  /**
   * The model calls of stopped visits that are not charged yet. The failure of the branch or of the step that stopped them
   * charges them, or else the end of the run.
   */
  readonly unchargedUsage: Usage[];
  /** For each visit under way, a function that returns what it has cost so far and no result has reported. */
  readonly spending: Set<() => number>;
  /** Of a chat turn: its answer so far. */
  readonly reply: TurnReply | null;
  /** The run's own money limit, with the calls under way. */
  readonly runLimit: RunLimit;
  /** The paths of the steps whose calls before a crash have been dealt with: their texts are not read again. */
  readonly resumed: Set<string>;
  /** How many reservations this execution has asked for: each has a name of its own. */
  reservations: number;
  /** Events for the run's next entry, which may be its end. */
  pendingEvents: readonly RunEvent[];
};

/** A result that Postgres will never take. `step`: the path of its step. */
export type RejectedResult = { step: string; message: string };

/** Appends a result, or the beginning of a fork, without waiting for its outcome: `confirmResults` does. */
export function appendUnconfirmed(state: ExecutionState, step: string, entry: Append): void {
  const settled = state.runLog.append(entry).then((outcome) => {
    state.unconfirmed.delete(settled);
    if (outcome.is === "rejected") state.rejected ??= { step, message: outcome.message };
  });
  state.unconfirmed.add(settled);
  // The outcome rejects when the run is superseded. Then the execution is stopped too.
  settled.catch(() => {});
}

/**
 * Waits until the results that were appended so far are committed.
 * @returns null, or the result that Postgres will never take
 * @throws Stop `superseded` when another worker moves the run
 */
export async function confirmResults(state: ExecutionState): Promise<RejectedResult | null> {
  await Promise.all(state.unconfirmed);
  return state.rejected;
}

/** What all steps of a run have in common. `signal` also aborts when the run's time is over. */
export type RunScope = {
  definition: Orchestration;
  /** The message that started the run. */
  message: string;
  /** The images of a chat turn's message, as data URIs. */
  images: readonly string[];
  /** The files attached to a chat turn's message. */
  attachments: readonly FileReference[];
  /** When the run's time is over, by this process's monotonic clock. */
  endsAtMs: number;
  signal: AbortSignal;
  /** Stops all tracks of the run. */
  abort(reason: unknown): void;
};

/** A visit of a step whose model calls are paid for. */
export type PaidVisit = { state: ExecutionState; scope: RunScope; track: Track; step: Step; visit: number };

/** A wait that is too long to hold the run's slot. */
export type LongWait = {
  is: "wait";
  /**
   * `queued`: until the next try. `paused`: for an answer, a timer, a child or room to start one, at most until a time.
   * `afterMs`: until that time.
   */
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

/** How an execution left its run: ended, dropped, parked (it wakes after `delayMs`), or stopped while it is still this worker's. */
export type Ending =
  | Ended
  | { is: "parked"; status: "queued" | "paused"; delayMs: number }
  | { is: "stopped" };

/**
 * The large values that the run stores at `place`: its input, an end, or a visit of a step. `signal` ends the waits for their puts;
 * null: the caller limits them.
 */
export function largeValuesAt(
  { run, deps }: ExecutionState,
  place: string,
  signal: AbortSignal | null = null,
): LargeValues {
  return new LargeValues(deps.artifacts, `${run.tenant_id}/${run.run_id}/${place}`, LIMITS, signal);
}

/** One visit of a step in a track. `large`: where it stores its large values. `signal` also aborts when its track is stopped. */
export type Visit = {
  state: ExecutionState;
  scope: RunScope;
  track: Track;
  step: Step;
  visit: number;
  large: LargeValues;
  signal: AbortSignal;
  /** The span of the try under way; absent or null: none. */
  span?: Span | null;
};
