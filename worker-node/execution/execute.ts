import { workerOf } from "../../shared/contracts/ids.ts";
import { initialProgress } from "../../shared/journal/fold.ts";
import { log, messageOf } from "../../shared/log.ts";
import type { ClaimedRun } from "../../shared/store/runs/claim-runs.ts";
import { failureOf } from "../engine/retry-policy.ts";
import type { RunLog } from "../journal/run-log.ts";
import { endRun, failRun, failStep } from "./end-run.ts";
import type { Ending, ExecutionDeps, ExecutionState } from "./execution-state.ts";
import { StateSize } from "./state-size.ts";
import { Stop } from "./stop.ts";
import { walkRun } from "./walk.ts";

/**
 * Executes a run from where its journal ends to its end, or to where it has to wait. `signal` is aborted with a Stop when
 * something outside stops the execution; `Stop` says what each reason asks for.
 */
export async function execute(
  run: ClaimedRun,
  deps: ExecutionDeps,
  runLog: RunLog,
  signal: AbortSignal,
): Promise<Ending> {
  const state: ExecutionState = {
    run,
    runLog,
    artifacts: deps.artifacts,
    steps: [],
    unchargedUsage: [],
    progress: initialProgress({}),
    size: new StateSize({}),
    // This event is noted only when the first step begins, so that its entry has the deadline of the step.
    pendingEvents: [{ type: "worker_picked_up", worker_id: workerOf(deps.owner), attempt: run.attempt }],
  };
  try {
    return await walkRun(state, deps, signal).catch((error: unknown) => {
      const reason: unknown = signal.aborted ? signal.reason : error;
      if (reason instanceof Stop) return onStop(state, reason);
      log.error("run.execution_failed", { run: run.run_id, attempt: run.attempt, message: messageOf(error) });
      return failRun(state, { ...failureOf(error), step_id: runLog.currentStep }, { cause: error });
    });
  } catch (error) {
    // The end that a cancel or a timeout asks for may be fenced too.
    if (error instanceof Stop && error.why === "superseded") return { is: "dropped" };
    throw error;
  } finally {
    runLog.close();
  }
}

async function onStop(state: ExecutionState, reason: Stop): Promise<Ending> {
  const usage = state.unchargedUsage;
  switch (reason.why) {
    case "superseded":
      return { is: "dropped" };
    case "drain":
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
