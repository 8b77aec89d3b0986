import type { Sampling } from "../../../shared/tracing/otel-variables.ts";
import { openTracer } from "../../../shared/tracing/tracer.ts";
import type { SpanBuffer } from "../../../shared/tracing/span-buffer.ts";

/** All traces are sent. */
export const allTraces: Sampling = { OTEL_TRACES_SAMPLER: "always_on", OTEL_TRACES_SAMPLER_ARG: 1 };

/** Ends this many spans, which the buffer gets. `text`: an attribute of each. */
export function endSpans(buffer: SpanBuffer, count: number, text = ""): void {
  const tracer = openTracer({ "service.name": "test" }, buffer, allTraces);
  for (let n = 0; n < count; n++) {
    tracer.start(`span ${n}`, { kind: "internal", parent: null, attributes: { text } }).end();
  }
}
