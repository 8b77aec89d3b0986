import { openTracer } from "../../../shared/tracing/tracer.ts";
import type { SpanBuffer } from "../../../shared/tracing/span-buffer.ts";

/** Ends this many spans, which the buffer gets. `text`: an attribute of each. */
export function endSpans(buffer: SpanBuffer, count: number, text = ""): void {
  const tracer = openTracer({ "service.name": "test" }, buffer);
  for (let n = 0; n < count; n++) {
    tracer.start(`span ${n}`, { kind: "internal", parent: null, attributes: { text } }).end();
  }
}
