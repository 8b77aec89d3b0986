import { stepPath } from "../../shared/journal/track.ts";
import { inSpan } from "../../shared/tracing/span.ts";
import type { Span } from "../../shared/tracing/span.ts";
import type { Visit } from "./execution-state.ts";

/** Does one try of a visit in a span, a child of the run's execution. Null: this worker does not trace. */
export function inStepSpan<Tried extends { is: string }>(
  { state, track, step, visit }: Visit,
  tryNumber: number,
  work: (span: Span | null) => Promise<Tried>,
): Promise<Tried> {
  const { deps, span: execution } = state;
  const tracer = deps.tracing()?.tracer;
  if (!tracer || !execution) return work(null);
  const attributes = {
    "synapse.step.id": step.id,
    "synapse.step.path": stepPath(track, step.id),
    "synapse.step.type": step.type,
    "synapse.step.visit": visit,
    "synapse.step.try": tryNumber,
  };
  const options = { kind: "internal" as const, parent: execution.traceparent, attributes };
  return inSpan(tracer, `step ${step.id}`, options, async (span) => {
    const tried = await work(span);
    span?.set({ "synapse.step.outcome": tried.is });
    return tried;
  });
}
