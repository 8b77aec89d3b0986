import { hash } from "node:crypto";
import { ATTR_GEN_AI_OPERATION_NAME } from "@opentelemetry/semantic-conventions/incubating";
import { ATTR_GEN_AI_WORKFLOW_NAME } from "@opentelemetry/semantic-conventions/incubating";
import {
  ATTR_MESSAGING_DESTINATION_NAME,
  ATTR_MESSAGING_OPERATION_NAME,
  ATTR_MESSAGING_OPERATION_TYPE,
  ATTR_MESSAGING_SYSTEM,
} from "@opentelemetry/semantic-conventions/incubating";
import { parseTraceParent } from "@opentelemetry/core";
import type { ClaimedRun } from "../../shared/store/runs/claim-runs.ts";
import type { Span, Tracer } from "../../shared/tracing/span.ts";
import { traceparentOf } from "../../shared/tracing/traceparent.ts";

/** The most executions that are remembered. A statement that ends after its execution still belongs to it. */
const MAX_REMEMBERED = 10_000;

/** `eventFlushes`: its flushes that carried events alone. `isOfEvents`: so did its last one. */
type Execution = { traceparent: string; eventFlushes: number; isOfEvents: boolean };

/**
 * The spans of executions: one for each claim of a run, in the trace of the run.
 *
 * The id of a span follows from the run and the attempt. So an execution can be linked to the execution before it, which another worker
 * made, and nothing is stored for that.
 */
export class ExecutionSpans {
  readonly #tracer: Tracer;
  /** The last execution of each run here, the oldest first. */
  readonly #executions = new Map<string, Execution>();

  constructor(tracer: Tracer) {
    this.#tracer = tracer;
  }

  begin(run: ClaimedRun): Span {
    const { run_id, tenant_id, orchestration_id, attempt, lane, queued_at_ms, correlation_id } = run;
    const parent = run.traceparent ?? null;
    const previous = attempt > 1 ? [contextOf(run, attempt - 1)] : [];
    const span = this.#tracer.start(`process ${orchestration_id}`, {
      kind: "consumer",
      parent,
      ids: idsOf(run, attempt),
      links: previous,
      attributes: {
        [ATTR_MESSAGING_SYSTEM]: "synapse",
        [ATTR_MESSAGING_OPERATION_TYPE]: "process",
        [ATTR_MESSAGING_OPERATION_NAME]: "process",
        [ATTR_MESSAGING_DESTINATION_NAME]: lane,
        [ATTR_GEN_AI_OPERATION_NAME]: "invoke_workflow",
        [ATTR_GEN_AI_WORKFLOW_NAME]: orchestration_id,
        "synapse.run.id": run_id,
        "synapse.run.attempt": attempt,
        "synapse.run.queued_at_ms": queued_at_ms,
        "synapse.tenant.id": tenant_id,
        "synapse.orchestration.id": orchestration_id,
        "synapse.correlation_id": correlation_id,
      },
    });
    const execution: Execution = { traceparent: span.traceparent, eventFlushes: 0, isOfEvents: false };
    this.#remember(run_id, execution);
    const end = (): void => {
      span.set({ "synapse.run.event_flushes": execution.eventFlushes });
      span.end();
    };
    return { ...span, end };
  }

  /** The contexts of the executions of these runs, as far as they are remembered. */
  of(runs: Iterable<string>): string[] {
    return [...runs].flatMap((run) => this.#executions.get(run)?.traceparent ?? []);
  }

  /** Notes a flush of a run. `isOfEvents`: it carries events alone. */
  flushed(run: string, isOfEvents: boolean): void {
    const execution = this.#executions.get(run);
    if (execution === undefined) return;
    execution.isOfEvents = isOfEvents;
    if (isOfEvents) execution.eventFlushes += 1;
  }

  /** Whether the last flush of a run carried events alone. */
  isOfEvents(run: string): boolean {
    return this.#executions.get(run)?.isOfEvents === true;
  }

  #remember(run: string, execution: Execution): void {
    this.#executions.delete(run);
    this.#executions.set(run, execution);
    const [oldest] = this.#executions.keys();
    if (this.#executions.size > MAX_REMEMBERED && oldest !== undefined) this.#executions.delete(oldest);
  }
}

/** A run that was started without a context has a trace of its own, whose id follows from the run. */
function idsOf({ run_id, traceparent }: ClaimedRun, attempt: number): { traceId: string; spanId: string } {
  const traceId = traceparent?.split("-", 2)[1] ?? hash("sha256", run_id).slice(0, 32);
  return { traceId, spanId: hash("sha256", `${run_id}:${attempt}`).slice(0, 16) };
}

function contextOf(run: ClaimedRun, attempt: number): string {
  const traceFlags = parseTraceParent(run.traceparent ?? "")?.traceFlags ?? 1;
  return traceparentOf({ ...idsOf(run, attempt), traceFlags });
}
