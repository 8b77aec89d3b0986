import type { NewRun, SubmitResult } from "../../shared/contracts/run.ts";
import type { Config } from "../env.ts";
import { asCurrentSpan } from "../tracing/current-span.ts";
import { tracingOf } from "../tracing/edge-tracing.ts";

/**
 * Submits a batch with a span for each of its runs. The span becomes the context of the run: the spans of its execution are children of
 * it. The calls that all runs share are children of the first run's span, to which the spans of the other runs are linked.
 */
export async function inBatchSpans(
  config: Config,
  runs: readonly NewRun[],
  waitUntil: (work: Promise<unknown>) => void,
  submit: (runs: readonly NewRun[]) => Promise<SubmitResult[]>,
): Promise<SubmitResult[]> {
  const tracing = await tracingOf(config, waitUntil);
  if (tracing === null) return submit(runs);
  const { tracer } = tracing;
  let links: string[] = [];
  const spans = runs.map(({ run_id, tenant_id, orchestration_id, lane, traceparent }) => {
    const span = tracer.start(`send ${lane}`, {
      kind: "producer",
      parent: traceparent ?? null,
      links,
      attributes: {
        "messaging.system": "synapse",
        "messaging.operation.type": "send",
        "messaging.operation.name": "send",
        "messaging.destination.name": lane,
        "synapse.run.id": run_id,
        "synapse.tenant.id": tenant_id,
        "synapse.orchestration.id": orchestration_id,
      },
    });
    links = links.length > 0 ? links : [span.traceparent];
    return span;
  });
  const inContext = runs.map((run, i) => ({ ...run, traceparent: spans[i]?.traceparent ?? null }));
  try {
    const [first = ""] = links;
    const results = await asCurrentSpan({ tracer, traceparent: first }, () => submit(inContext));
    for (const [i, result] of results.entries()) if (result.is === "refused") spans[i]?.fail(result);
    return results;
  } finally {
    for (const span of spans) span.end();
    tracing.flush(waitUntil);
  }
}
