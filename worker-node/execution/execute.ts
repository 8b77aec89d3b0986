import { workerOf } from "../../shared/contracts/ids.ts";
import { layOut } from "../../shared/contracts/definition/index.ts";
import type { Orchestration } from "../../shared/contracts/definition/index.ts";
import { modelOf } from "../../shared/contracts/model-name.ts";
import { RunInput } from "../../shared/contracts/run.ts";
import type { RunError } from "../../shared/contracts/run.ts";
import { whenJournalTooLarge, whenStateTooLarge } from "../../shared/journal/size-limits.ts";
import { initialProgress, initialState } from "../../shared/journal/fold.ts";
import { aboutRun, log, messageOf } from "../../shared/log.ts";
import type { ClaimedRun } from "../../shared/store/runs/claim-runs.ts";
import { failureOf } from "../engine/retry-policy.ts";
import type { RunLog } from "../journal/run-log.ts";
import { endRun, failRejected, failRun, failStep, stepIdOf } from "./end-run.ts";
import { confirmResults, largeValuesAt } from "./execution-state.ts";
import type { Ending, ExecutionDeps, ExecutionState, RunScope } from "./execution-state.ts";
import { ifStored } from "./large-values.ts";
import { readProgress } from "./read-progress.ts";
import { TurnReply } from "./turn-reply.ts";
import { RunLimit } from "./run-limit.ts";
import { StateSize } from "./state-size.ts";
import { Stop, withTimeout } from "./stop.ts";
import { waitForStore } from "./wait-for-store.ts";
import { ResultRejected } from "./track-scope.ts";
import { Waits } from "./waits.ts";
import { walkTrack } from "./walk-track.ts";

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
  const span = deps.tracing()?.beginExecution(run) ?? null;
  const state: ExecutionState = {
    run,
    runLog,
    deps,
    beganMs: performance.now(),
    span,
    steps: [],
    unchargedUsage: [],
    spending: new Set(),
    initial: {},
    progress: initialProgress({}),
    unconfirmed: new Set(),
    rejected: null,
    size: new StateSize(onStateHeld),
    reply: run.chat_session ? new TurnReply(run.run_id, run.chat_session) : null,
    runLimit: new RunLimit(),
    resumed: new Set(),
    reservations: 0,
    // This event is noted only when the first step begins, so that its entry has the deadline of the step.
    pendingEvents: [{ type: "worker_picked_up", worker_id: workerOf(deps.owner), attempt: run.attempt }],
  };
  try {
    const ending = await walkRun(state, signal).catch((error: unknown) => {
      const reason: unknown = signal.aborted ? signal.reason : error;
      if (reason instanceof Stop) return onStop(state, reason);
      log.error("run.execution_failed", {
        ...aboutRun(run),
        attempt: run.attempt,
        message: messageOf(error),
      });
      return failRun(state, { ...failureOf(error), step_id: stepIdOf(runLog.currentStep) }, { cause: error });
    });
    span?.set({ "synapse.run.ending": ending.is });
    return ending;
  } catch (error) {
    // The end after a cancel or a timeout may be fenced too.
    if (error instanceof Stop && error.why === "superseded") return { is: "dropped" };
    span?.fail(error);
    throw error;
  } finally {
    span?.end();
    runLog.close();
  }
}

/** Moves a run from step to step, until it ends or parks. */
async function walkRun(state: ExecutionState, signal: AbortSignal): Promise<Ending> {
  const { run, deps } = state;
  const { attempts, timeout_seconds } = deps.laneSettings(run.lane);
  // Checked before the definition, the input and the journal are read: a value that crashed as many workers must not crash another.
  if (attempts !== null && run.crash_count >= attempts) {
    const message = `${run.crash_count} workers died while they executed this run, without a checkpoint between`;
    return failRun(state, { code: "poison", message, step_id: null });
  }
  const journalTooLarge = whenJournalTooLarge(null, run.journal_bytes);
  if (journalTooLarge)
    return run.cancel ? endRun(state, "cancelled") : failRun(state, { ...journalTooLarge, step_id: null });
  const { definition_tenant, orchestration_id, definition_version } = run;
  const pinned = await waitForStore(run, signal, () =>
    deps.definitions.orchestration(definition_tenant, orchestration_id, definition_version),
  );
  const definition = withinLimits(pinned, run, timeout_seconds);
  state.steps = definition.steps;
  const input = await inputOf(run, deps, signal);
  const initial = initialState(definition, input);
  state.initial = await ifStored(largeValuesAt(state, "input").storeValues(initial), initial);
  await readProgress(state, signal);
  if (state.reply) state.reply.turns = state.progress.turns;
  state.size.reset(state.progress);
  if (run.cancel) return endRun(state, "cancelled");
  const unpriced = run.event_seq === 0 ? await unpricedStep(state, definition, signal) : null;
  if (unpriced) return failRun(state, unpriced);

  const timeLeftMs = definition.timeout_minutes * 60_000 - run.running_for_ms;
  const endsAtMs = performance.now() + timeLeftMs;
  const limit = withTimeout(
    signal,
    timeLeftMs,
    () => new Stop("run_timeout", `the run took longer than its ${definition.timeout_minutes} minutes`),
  );
  try {
    const { signal: ofRun, abort } = limit;
    const { message, images = [], attachments = [] } = input;
    const said = { message, images, attachments };
    const scope = { definition: layOut(definition), ...said, endsAtMs, signal: ofRun, abort };
    return await walkSteps(state, scope);
  } finally {
    limit.clear();
  }
}

/**
 * The definition with the limits of this run: a child may use no more than its parent had left, and no run more than its lane's
 * `timeout_seconds`.
 */
function withinLimits(
  definition: Orchestration,
  { cost_limit_micro_usd: cost, time_limit_ms: time }: ClaimedRun,
  laneSeconds: number | null,
): Orchestration {
  const { max_total_cost_usd, timeout_minutes } = definition;
  return {
    ...definition,
    max_total_cost_usd:
      cost === null || cost === undefined
        ? max_total_cost_usd
        : Math.min(cost / 1_000_000, max_total_cost_usd ?? Infinity),
    timeout_minutes: Math.min(timeout_minutes, (time ?? Infinity) / 60_000, (laneSeconds ?? Infinity) / 60),
  };
}

/** The first step whose model has no known price, although a limit on money holds: the run does not begin. */
async function unpricedStep(
  { run, deps }: ExecutionState,
  { max_total_cost_usd, steps }: Orchestration,
  signal: AbortSignal,
): Promise<RunError | null> {
  if (max_total_cost_usd === null && !run.has_budget) return null;
  await deps.prices.refresh();
  for (const step of steps) {
    const named = "model" in step ? modelOf(step.model) : null;
    // An agent has a model of its own, and a step of another type that names no model may call none.
    if (named === null && step.type !== "llm" && step.type !== "evaluator") continue;
    const message = deps.prices.errorOf(named ?? (await deps.defaultModel(run.tenant_id, signal)));
    if (message !== null) return { code: "model_without_price", message, step_id: step.id };
  }
  return null;
}

async function inputOf(run: ClaimedRun, deps: ExecutionDeps, signal: AbortSignal): Promise<RunInput> {
  const text = run.input ?? (await waitForStore(run, signal, () => deps.store.readInput(run.run_id)));
  return RunInput.parse(JSON.parse(text ?? "null"));
}

/** Moves the run's own track to its end, and the tracks into which its steps divide it. */
async function walkSteps(state: ExecutionState, scope: RunScope): Promise<Ending> {
  const tooLarge = whenStateTooLarge("the state that the run has before its next step", state.size.bytes);
  if (tooLarge) return failRun(state, { ...tooLarge, step_id: null });
  noteBeginning(state, scope.definition);
  const waits = new Waits(state, scope);
  const beginsLife = state.run.event_seq === state.progress.rewoundAt;
  const track = state.progress;
  const own = { state, scope, waits, track, signal: scope.signal, beginsLife, onEnd: () => [] };
  try {
    const end = await walkTrack(own);
    if (end.is === "failed") return await failStep(state, end.path, end.error, end);
    const { todo, last } = end;
    return await endRun(state, todo.status, { error: todo.status === "failed" ? todo.error : null, last });
  } catch (error) {
    const parked = await waits.parked();
    if (parked) return parked;
    if (error instanceof ResultRejected) return failRejected(state, error.result);
    throw error;
  }
}

/** Notes the pickup and the start of the run. */
function noteBeginning(state: ExecutionState, definition: Orchestration): void {
  const { runLog, run, pendingEvents } = state;
  const name = { orchestration_id: run.orchestration_id, orchestration_name: definition.name };
  runLog.note(pendingEvents);
  state.pendingEvents = [];
  if (run.event_seq === 0 && run.chat_session) {
    runLog.note([
      { type: "session", session_id: run.chat_session, turn_id: run.run_id, agent_id: definition.id },
    ]);
  }
  if (run.event_seq === 0) runLog.note([{ type: "orchestration_start", ...name }]);
}

async function onStop(state: ExecutionState, reason: Stop): Promise<Ending> {
  switch (reason.why) {
    case "superseded":
      return { is: "dropped" };
    case "drain":
      // The results of calls to the outside are committed before another worker goes on.
      await confirmResults(state);
      return { is: "stopped" };
    case "cancel":
      return endRun(state, "cancelled");
    case "state_too_large":
      return failStep(state, state.runLog.currentStep, { code: reason.why, message: reason.message });
    case "run_timeout":
    case "step_timeout":
      return failRun(state, { code: reason.why, message: reason.message, step_id: null });
  }
}
