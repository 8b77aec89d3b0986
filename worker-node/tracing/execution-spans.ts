import { createHash } from "node:crypto";
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

/**
 * The spans of executions: one for each claim of a run, in the trace of the run.
 *
 * The id of a span follows from the run and the attempt. So an execution can be linked to the execution before it, which another worker
 * made, and nothing is stored for that.
 */
export class ExecutionSpans {
  readonly #tracer: Tracer;
  /** The context of each run's last execution here, the oldest first. */
  readonly #contexts = new Map<string, string>();

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
    this.#remember(run_id, span.traceparent);
    return span;
  }

  /** The contexts of the executions of these runs, as far as they are remembered. */
  of(runs: Iterable<string>): string[] {
    return [...runs].flatMap((run) => this.#contexts.get(run) ?? []);
  }

  #remember(run: string, traceparent: string): void {
    this.#contexts.delete(run);
    this.#contexts.set(run, traceparent);
    const [oldest] = this.#contexts.keys();
    if (this.#contexts.size > MAX_REMEMBERED && oldest !== undefined) this.#contexts.delete(oldest);
  }
}

/** A run that was started without a context has a trace of its own, whose id follows from the run. */
function idsOf({ run_id, traceparent }: ClaimedRun, attempt: number): { traceId: string; spanId: string } {
  const traceId = traceparent?.split("-", 2)[1] ?? hash(run_id).slice(0, 32);
  return { traceId, spanId: hash(`${run_id}:${attempt}`).slice(0, 16) };
}

function contextOf(run: ClaimedRun, attempt: number): string {
  const traceFlags = parseTraceParent(run.traceparent ?? "")?.traceFlags ?? 1;
  return traceparentOf({ ...idsOf(run, attempt), traceFlags });
}

function hash(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
