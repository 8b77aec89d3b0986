import type { Step } from "../../shared/contracts/definition/index.ts";
import type { Json } from "../../shared/contracts/json.ts";
import { namesOf } from "./events.ts";
import { outputOf } from "./run-state.ts";
import { TerminalError } from "./step-errors.ts";
import type { ChildReply, ChildRequest, CallsWait, StepContext, StepResult } from "./ports.ts";

type Ended = Extract<ChildReply, { is: "ended" }>;

/** The error of a child that has not completed; null: it has. */
export function childError({ runId, end }: Ended): { code: string; message: string } | null {
  if (end.status === "completed") return null;
  const why = end.error === null ? "" : `: ${end.error.code}, ${end.error.message}`;
  return {
    code: `child_${end.status}`,
    message: `the run ${runId} that the step waited for ${verb(end.status)}${why}`,
  };
}

function verb(status: "failed" | "cancelled"): string {
  return status === "failed" ? "failed" : "was cancelled";
}

/**
 * The result of a step that takes the response of one child as its own; while the child has not ended, that the step waits.
 * @throws TerminalError what `child` throws, and with `onError` `fail` the child's failure
 */
export async function childResult(
  step: Step,
  request: Omit<ChildRequest, "call" | "waits">,
  onError: "fail" | "continue",
  context: StepContext,
): Promise<StepResult | CallsWait> {
  const reply = await context.child({ ...request, call: "", waits: true });
  if (reply.is === "open" || reply.is === "started") return { waitsForCalls: true };
  if (reply.is === "expired") {
    const message = `the run ${reply.runId} has not ended in ${(request.timeoutMs ?? 0) / 1_000} s, and is cancelled`;
    if (onError === "fail") context.charge(reply.usage);
    const result = resultOfFailure(step, { code: "child_timeout", message }, reply.runId, onError);
    return { ...result, usage: [reply.usage] };
  }
  const completed = completedEvent(step, request.orchestrationId, reply);
  const error = childError(reply);
  if (error === null) {
    const value = reply.end.response;
    return { ...resultOf(step, value), events: [completed, finalOf(step, value)], ...costOf(reply) };
  }
  if (onError === "fail") {
    context.note(completed);
    context.charge(reply.usage);
  }
  const result = resultOfFailure(step, error, reply.runId, onError);
  return { ...result, events: [completed, ...result.events], ...costOf(reply) };
}

function costOf({ usage, openForMs }: Ended): Pick<StepResult, "usage" | "waitedMs"> {
  return { usage: [usage], waitedMs: openForMs };
}

/** The event of a child's end. */
export function completedEvent(step: Step, orchestrationId: string, { runId, end }: Ended) {
  return {
    type: "child_completed" as const,
    ...namesOf(step),
    nested_run_id: runId,
    nested_orch_id: orchestrationId,
    status: end.status,
    error: end.error?.message ?? null,
  };
}

/** The result of a step that goes on after the failure of its child. @throws TerminalError where `onError` is `fail` */
function resultOfFailure(
  step: Step,
  error: { code: string; message: string },
  runId: string,
  onError: "fail" | "continue",
): StepResult {
  if (onError === "fail") throw new TerminalError(error.code, error.message);
  const value = { error, run_id: runId };
  return resultOf(step, value);
}

function resultOf(step: Step, value: Json): StepResult {
  return {
    set: outputOf(step, value),
    events: [finalOf(step, value)],
    usage: [],
    response: value,
    effects: [],
  };
}

function finalOf(step: Step, response: Json) {
  return {
    type: "final" as const,
    response,
    intent: "orchestration",
    data: null,
    tool_name: null,
    ...namesOf(step),
  };
}
