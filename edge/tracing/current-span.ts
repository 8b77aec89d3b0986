import { AsyncLocalStorage } from "node:async_hooks";
import { inSpan } from "../../shared/tracing/span.ts";
import type { Span, SpanOptions, Tracer } from "../../shared/tracing/span.ts";

/** `tracer` null: tracing is off, and the client's context is passed on to the runs that the request starts. */
export type CurrentSpan = { tracer: Tracer | null; traceparent: string };

const storage = new AsyncLocalStorage<CurrentSpan>();

/** Does `work` as a part of this span: what `work` calls finds it, also after an `await`. */
export function asCurrentSpan<Result>(span: CurrentSpan, work: () => Result): Result {
  return storage.run(span, work);
}

/** The `traceparent` of the span of which this is a part; null: of none. */
export function currentTraceparent(): string | null {
  return storage.getStore()?.traceparent ?? null;
}

/** Does `work` in a child of the current span. Where there is none, or tracing is off, it only does `work`. */
export function inChildSpan<Result>(
  name: string,
  options: Omit<SpanOptions, "parent">,
  work: (span: Span | null) => Promise<Result>,
): Promise<Result> {
  const current = storage.getStore();
  if (!current?.tracer) return work(null);
  return inSpan(current.tracer, name, { ...options, parent: current.traceparent }, work);
}
