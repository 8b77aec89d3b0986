import { workerOf } from "../../shared/contracts/ids.ts";
import type { Orchestration, Step } from "../../shared/contracts/definition/index.ts";
import { RunInput } from "../../shared/contracts/run.ts";
import { whenJournalTooLarge, whenStateTooLarge } from "../../shared/journal/budget.ts";
import { applyResult, fold, initialProgress, initialState } from "../../shared/journal/fold.ts";
import type { ReadStored } from "../../shared/journal/fold.ts";
import { writeResult } from "../../shared/journal/records.ts";
import { log, messageOf } from "../../shared/log.ts";
import type { ClaimedRun } from "../../shared/store/runs/claim-runs.ts";
import { stepStart } from "../engine/events.ts";
import { next } from "../engine/machine.ts";
import { failureOf } from "../engine/retry-policy.ts";
import { TerminalError } from "../engine/step-errors.ts";
import { isPure } from "../engine/steps/index.ts";
import { deadlineOf } from "../journal/run-log.ts";
import type { Append, RunLog } from "../journal/run-log.ts";
import { endRun, failRejected, failRun, failStep } from "./end-run.ts";
import { confirmResults, largeValuesAt } from "./execution-state.ts";
import type { Ending, ExecutionDeps, ExecutionState, Parked, Walk } from "./execution-state.ts";
import { ifStored } from "./large-values.ts";
import { StateSize } from "./state-size.ts";
import { Stop, withTimeout } from "./stop.ts";
import type { Result } from "./visit.ts";
import { visitStep } from "./visit.ts";
import { unreadable, waitForStore } from "./wait-for-store.ts";

/** Crashes without a checkpoint between them after which a run is not executed again. */
const POISON_CRASHES = 3;
/** The most unconfirmed results: then even a step without effects waits, because a commit is where a cancel is noticed. */
const MAX_UNCONFIRMED = 32;
/** A run that wakes because its timeout has come must find that the timeout has passed. */
const TIMEOUT_SLACK_MS = 1_000;

/**
 * Executes a run from where its journal ends to its end, or to where it has to wait. `signal` is aborted with a Stop when
 * something outside stops the execution; `Stop` says what each reason causes. `onStateHeld` gets the bytes of state that the
 * run holds in memory, whenever they change.
 */
export async function execute(
  run: ClaimedRun,
  deps: ExecutionDeps,
  runLog: RunLog,
  signal: AbortSignal,
  onStateHeld?: (bytes: number) => void,
): Promise<Ending> {
  const state: ExecutionState = {
    run,
    runLog,
    deps,
    steps: [],
    unchargedUsage: [],
    progress: initialProgress({}),
    unconfirmed: [],
    size: new StateSize({}, onStateHeld),
    // This event is noted only when the first step begins, so that its entry has the deadline of the step.
    pendingEvents: [{ type: "worker_picked_up", worker_id: workerOf(deps.owner), attempt: run.attempt }],
  };
  try {
    return await walkRun(state, signal).catch((error: unknown) => {
      const reason: unknown = signal.aborted ? signal.reason : error;
      if (reason instanceof Stop) return onStop(state, reason);
      log.error("run.execution_failed", { run: run.run_id, attempt: run.attempt, message: messageOf(error) });
      return failRun(state, { ...failureOf(error), step_id: runLog.currentStep }, { cause: error });
    });
  } catch (error) {
    // The end after a cancel or a timeout may be fenced too.
    if (error instanceof Stop && error.why === "superseded") return { is: "dropped" };
    throw error;
  } finally {
    runLog.close();
  }
}

/** Moves a run from step to step, until it ends or parks. */
async function walkRun(state: ExecutionState, signal: AbortSignal): Promise<Ending> {
  const { run, deps } = state;
  // Before the definition, the input and the journal are read: what crashed three workers must not crash a fourth.
  if (run.crash_count >= POISON_CRASHES) {
    const message = `${run.crash_count} workers died while they executed this run, without a checkpoint between`;
    return failRun(state, { code: "poison", message, step_id: null });
  }
  const journalTooLarge = whenJournalTooLarge(null, run.journal_bytes);
  if (journalTooLarge)
    return run.cancel ? endRun(state, "cancelled") : failRun(state, { ...journalTooLarge, step_id: null });
  const { definition_tenant, orchestration_id, definition_version } = run;
  const definition = await waitForStore(signal, () =>
    deps.definitions.orchestration(definition_tenant, orchestration_id, definition_version),
  );
  state.steps = definition.steps;
  const input = await inputOf(run, deps, signal);
  const initial = initialState(definition, input);
  const stored = await ifStored(largeValuesAt(state, "input").storeValues(initial), initial);
  state.progress =
    run.event_seq === 0
      ? initialProgress(stored)
      : await fold(stored, journalOf(run, deps, signal)).catch((error: unknown) => {
          throw error instanceof TerminalError ? error : unreadable(error);
        });
  state.size.set(state.progress.state);
  if (run.cancel) return endRun(state, "cancelled");

  const timeLeftMs = definition.timeout_minutes * 60_000 - run.running_for_ms;
  const endsAtMs = performance.now() + timeLeftMs;
  const limit = withTimeout(
    signal,
    timeLeftMs,
    () => new Stop("run_timeout", `the run took longer than its ${definition.timeout_minutes} minutes`),
  );
  try {
    const walk = { definition, message: input.message, endsAtMs, signal: limit.signal };
    return await walkSteps(state, walk);
  } finally {
    limit.clear();
  }
}

async function inputOf(run: ClaimedRun, deps: ExecutionDeps, signal: AbortSignal): Promise<RunInput> {
  const text = run.input ?? (await waitForStore(signal, () => deps.store.readInput(run.run_id)));
  return RunInput.parse(JSON.parse(text ?? "null"));
}

/** The pages of the run's journal. Nothing but this execution appends to it. */
function journalOf({ run_id, event_seq }: ClaimedRun, deps: ExecutionDeps, signal: AbortSignal): ReadStored {
  return (after) => waitForStore(signal, () => deps.store.readStoredPage(run_id, after, event_seq));
}

async function walkSteps(state: ExecutionState, walk: Walk): Promise<Ending> {
  const { definition, signal } = walk;
  const { runLog } = state;
  const tooLarge = whenStateTooLarge("the state that the run has before its next step", state.size.bytes);
  if (tooLarge) return failRun(state, { ...tooLarge, step_id: null });
  let todo = next(definition, state.progress);
  noteBeginning(state, definition, todo.do === "step" ? todo.step : null);
  while (todo.do === "step") {
    const { step, visit } = todo;
    signal.throwIfAborted();
    if (!isPure(step) || state.unconfirmed.length >= MAX_UNCONFIRMED) {
      const rejected = await confirmResults(state);
      if (rejected) return failRejected(state, rejected);
      signal.throwIfAborted();
    }
    runLog.begin(step);
    const large = largeValuesAt(state, `${step.id}/${visit}.${state.run.attempt}`);
    const visited = await visitStep({ state, walk, step, visit, large });
    if (visited.is === "failed") {
      const { error, ...more } = visited;
      return failStep(state, step.id, error, more);
    }
    if (visited.is === "wait") {
      const parked = await park(state, visited, walk);
      if (parked) return parked;
      continue;
    }
    const { checkpoint, events, usage, response } = visited;
    state.size.set(checkpoint.set);
    const grown = whenStateTooLarge(`the state of the run after step "${step.id}"`, state.size.bytes);
    if (grown) return failStep(state, step.id, grown, { usage });
    const progress = applyResult(state.progress, checkpoint);
    todo = next(definition, progress);
    if (todo.do === "end") {
      const error = todo.status === "failed" ? todo.error : null;
      const last = { checkpoint, response, progress };
      return endRun(state, todo.status, { error, last, events, usage });
    }
    const outcome = runLog.append(stepEntry(visited, todo.step));
    // The outcome rejects when the run is superseded. Then `signal` is aborted too, and ends the execution.
    outcome.catch(() => {});
    state.unconfirmed.push({ step: step.id, before: state.progress, outcome });
    state.progress = progress;
  }
  return endRun(state, todo.status, todo.status === "failed" ? { error: todo.error } : {});
}

/** Notes the pickup, the start of the run and the `step_start` of `first`. Every other `step_start` is committed with the result before it. */
function noteBeginning(state: ExecutionState, definition: Orchestration, first: Step | null): void {
  const { runLog, run, pendingEvents, progress } = state;
  const name = { orchestration_id: definition.id, orchestration_name: definition.name };
  runLog.note(pendingEvents);
  state.pendingEvents = [];
  if (run.event_seq === 0) runLog.note([{ type: "orchestration_start", ...name }]);
  const begins = run.event_seq === progress.rewoundAt;
  if (begins && first) runLog.note([stepStart(first)]);
}

/** Gives the slot back until the wait is over, or the run's time is. Null: the step is to be visited again. */
async function park(state: ExecutionState, wait: Parked, walk: Walk): Promise<Ending | null> {
  const { status, afterMs } = wait;
  const leftMs = Math.max(0, walk.endsAtMs - performance.now());
  // The run's time stands still while it is paused for an answer.
  const delayMs = status === "paused" ? afterMs : Math.min(afterMs, leftMs + TIMEOUT_SLACK_MS);
  const signals = wait.signals ?? state.runLog.signals;
  const outcome = await state.runLog.append(parkEntry(wait, delayMs, signals));
  if (outcome.is === "committed") return { is: "parked", status, delayMs };
  if (outcome.is === "rejected") throw new Error(outcome.message);
  // Refused: `signals` rose meanwhile. A cancel ends any wait. An answer may have arrived for a question, so the step is
  // visited again. A retry waits only for its time, so it parks again.
  walk.signal.throwIfAborted();
  return status === "paused" ? null : park(state, wait, walk);
}

/** The result of a visit, with the start of the step that follows. */
function stepEntry({ checkpoint, usage, ...result }: Result, following: Step): Append {
  const events = [...result.events, stepStart(following)];
  return {
    kind: "step",
    step_path: checkpoint.step,
    visit: checkpoint.visit,
    output: writeResult(checkpoint, events),
    events,
    usage,
    deadline_ms: deadlineOf(following),
    current_step: following.id,
  };
}

/** Parks the run until it is due in `delayMs`. `signals`: the value on which the decision to park is based. */
function parkEntry(parked: Parked, delayMs: number, signals: number): Append {
  const { status, park: record, waits, events, usage } = parked;
  return {
    kind: "park",
    step_path: record.step,
    visit: record.visit,
    output: JSON.stringify(record),
    events,
    usage,
    status,
    wake_ms: Math.ceil(delayMs),
    waits,
    signals,
  };
}

async function onStop(state: ExecutionState, reason: Stop): Promise<Ending> {
  const usage = state.unchargedUsage;
  switch (reason.why) {
    case "superseded":
      return { is: "dropped" };
    case "drain":
      // The results of calls to the outside are committed before another worker goes on.
      await confirmResults(state);
      return { is: "stopped" };
    case "cancel":
      return endRun(state, "cancelled", { usage });
    case "state_too_large":
      return failStep(
        state,
        state.runLog.currentStep,
        { code: reason.why, message: reason.message },
        { usage },
      );
    case "run_timeout":
    case "step_timeout":
      return failRun(state, { code: reason.why, message: reason.message, step_id: null }, { usage });
  }
}
