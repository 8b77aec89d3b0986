import { hash } from "node:crypto";
import { RunId, baseOf } from "../../shared/contracts/ids.ts";
import { stepPath } from "../../shared/journal/track.ts";
import { MAX_CHILDREN, MAX_DEPTH } from "../../shared/store/runs/start-child.ts";
import type { NewChild } from "../../shared/store/runs/start-child.ts";
import { inTrack, namesOf } from "../engine/events.ts";
import type { ChildRequest } from "../engine/ports.ts";
import { TerminalError } from "../engine/step-errors.ts";
import { limitsOfChild } from "./child-limits.ts";
import type { ChildAdmission, Visit } from "./execution-state.ts";
import { waitForStore } from "./wait-for-store.ts";

/** The most bytes of a child's input, as much as a client may send. Large values of state are references. */
const MAX_INPUT_BYTES = 1024 * 1024;
/** The wait before another try when Postgres finds the tenant's queue full, or the run is about to be stopped. */
const TRY_AGAIN_MS = 5_000;

/** `wait`: as for an admission; the step is to try again. */
type Started = { is: "started" } | Extract<ChildAdmission, { is: "wait" }>;

/** The id of a child: of the shape of all run ids, with the base of its parent. */
export function childRunId(parent: RunId, waitId: string): RunId {
  const digest = hash("sha256", `${parent}\0${waitId}`);
  return RunId.parse(`run_${digest.slice(0, 12)}_${baseOf(parent)}`);
}

/**
 * Starts a child of the visit's run: the admission, then the statement, then the queue. docs/protocol.md 5.15. A child that exists
 * is started.
 * @throws TerminalError what `StepContext.child` says
 */
export async function startChild(visit: Visit, waitId: string, request: ChildRequest): Promise<Started> {
  const { state, track, step, signal } = visit;
  const { run, deps, runLog } = state;
  const { orchestrationId: orchestration_id, message, waits } = request;
  const input = JSON.stringify({ message, state: request.state });
  if (Buffer.byteLength(input) > MAX_INPUT_BYTES) throw refused("child_input_too_large", request);
  await deps.confirm(run, signal);
  const run_id = childRunId(run.run_id, waitId);
  const name = { run: run_id, tenant: run.tenant_id };
  const admission = await deps.children.admit(name, run.traceparent);
  signal.throwIfAborted();
  if (admission.is === "wait") return admission;
  const child: NewChild = {
    run_id,
    orchestration_id,
    input,
    wait_id: waits ? waitId : null,
    step_path: stepPath(track, step.id),
    ...limitsOfChild(visit),
    quota_checked_by: admission.quotaCheckedBy,
    ...(visit.span && { traceparent: visit.span.traceparent }),
  };
  const parent = { run_id: run.run_id, owner: deps.owner, attempt: run.attempt };
  const started = await waitForStore(run, signal, () => deps.store.startChild(parent, child));
  if (started.is !== "started") deps.children.giveBack(name);
  switch (started.is) {
    case "started":
      break;
    case "full":
      return { is: "wait", afterMs: TRY_AGAIN_MS, why: "the tenant has as many runs queued as it may" };
    case "fenced":
      // A beat or the next entry says why: another worker moves the run, or it is cancelled.
      return { is: "wait", afterMs: TRY_AGAIN_MS, why: "the run is about to be stopped" };
    case "unknown":
      throw refused("unknown_orchestration", request);
    case "too_deep":
      throw refused("child_depth", request);
    case "too_many":
      throw refused("child_limit", request);
  }
  // The next beat says so too: until then a call of another branch must not pass what they share.
  if (child.cost_limit_micro_usd !== null) runLog.hasBudget = true;
  if (started.run !== null) {
    deps.children.notify([started.run]);
    const names = { ...namesOf(step), nested_run_id: run_id, nested_orch_id: orchestration_id };
    runLog.note([inTrack(track, { type: "child_started", ...names, waits })]);
  }
  return { is: "started" };
}

function refused(
  code: "unknown_orchestration" | "child_depth" | "child_limit" | "child_input_too_large",
  { orchestrationId }: ChildRequest,
): TerminalError {
  const sentences = {
    unknown_orchestration: `there is no orchestration "${orchestrationId}"`,
    child_depth: `a run of "${orchestrationId}" would have ${MAX_DEPTH + 1} runs above it, and may have ${MAX_DEPTH}: does an orchestration run itself?`,
    child_limit: `the run has started ${MAX_CHILDREN} runs, which is the most that one run may start`,
    child_input_too_large: `the input of a run of "${orchestrationId}" would be longer than 1 MiB: name fewer keys in input_keys and child_state`,
  };
  return new TerminalError(code, sentences[code]);
}
