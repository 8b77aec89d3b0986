import { AsyncLocalStorage } from "node:async_hooks";
import { inSpan } from "../../shared/tracing/span.ts";
import type { Span, SpanOptions, Tracer } from "../../shared/tracing/span.ts";

/** The span of the work that is under way. `tracer` null: tracing is off, and `traceparent` is the client's, for the runs that start. */
export type CurrentSpan = { tracer: Tracer | null; traceparent: string };

const storage = new AsyncLocalStorage<CurrentSpan>();

/** Does `work` as a part of this span. Functions that `work` calls find the span, also after an `await`. */
export function asCurrentSpan<Result>(span: CurrentSpan, work: () => Result): Result {
  return storage.run(span, work);
}

/** The `traceparent` of the current span; null: there is no span. */
export function currentTraceparent(): string | null {
  return storage.getStore()?.traceparent ?? null;
}

/** Does `work` in a child of the current span. Without a current span, or with tracing off, `work` gets null. */
export function inChildSpan<Result>(
  name: string,
  options: Omit<SpanOptions, "parent">,
  work: (span: Span | null) => Promise<Result>,
): Promise<Result> {
  const current = storage.getStore();
  if (!current?.tracer) return work(null);
  return inSpan(current.tracer, name, { ...options, parent: current.traceparent }, work);
}
