/**
 * The tracer of edge and workers, without a dependency on OpenTelemetry. A context is carried as the text of a W3C `traceparent` header, in rows, calls
 * between objects and requests alike: it names the trace, the span, and whether the trace is sampled.
 */
export type Attributes = Readonly<Record<string, string | number | boolean | readonly string[]>>;

/** The role of a span in OpenTelemetry's terms. */
export type SpanKind = "server" | "client" | "producer" | "consumer" | "internal";

/** How a span begins. */
export type SpanOptions = {
  kind: SpanKind;
  /** The `traceparent` of the span that caused this one; null: a trace begins here. */
  parent: string | null;
  attributes?: Attributes;
  /** The `traceparent` of spans that are related to this one, and are not its parent. */
  links?: readonly string[];
  /** When it began, in milliseconds since 1970; absent: now. */
  startMs?: number;
  /** The ids that the span takes, in place of random ones. The trace id counts only without a parent. */
  ids?: { traceId: string; spanId: string };
};

/** A span that has begun. After `end` it does not change. */
export type Span = {
  /** The context in which its children begin. */
  readonly traceparent: string;
  rename(name: string): void;
  set(attributes: Attributes): void;
  /** The work has failed. Of the error only its kind is recorded: a message may quote what a model or a tool said. */
  fail(error: unknown): void;
  end(): void;
};

/** Begins spans. */
export type Tracer = { start(name: string, options: SpanOptions): Span };

/** Does `work` in a span, which ends with the work and fails if the work throws. Without a tracer there is no span. */
export async function inSpan<Result>(
  tracer: Tracer | null,
  name: string,
  options: SpanOptions,
  work: (span: Span | null) => Promise<Result>,
): Promise<Result> {
  if (tracer === null) return work(null);
  const span = tracer.start(name, options);
  try {
    return await work(span);
  } catch (error) {
    span.fail(error);
    throw error;
  } finally {
    span.end();
  }
}

/** The trace id in a `traceparent`; absent: there is none. For log lines. */
export function traceIdOf(traceparent: string | null | undefined): string | undefined {
  return traceparent?.split("-", 2)[1];
}
