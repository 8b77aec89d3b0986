import { parseTraceParent } from "@opentelemetry/core";

type SpanContext = NonNullable<ReturnType<typeof parseTraceParent>>;

/** The `traceparent` of a context, in version 00 of W3C Trace Context. */
export function traceparentOf({ traceId, spanId, traceFlags }: SpanContext): string {
  return `00-${traceId}-${spanId}-${(traceFlags & 1) === 1 ? "01" : "00"}`;
}

/** The context that a request's header names, as version 00 writes it; null: there is no header, or it is malformed, and counts as none. */
export function readTraceparent(header: string | undefined): string | null {
  const context = header === undefined ? null : parseTraceParent(header);
  return context === null ? null : traceparentOf(context);
}
