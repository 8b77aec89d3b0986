import { ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import type { Context, Link } from "@opentelemetry/api";
import { parseTraceParent } from "@opentelemetry/core";
import { resourceFromAttributes } from "@opentelemetry/resources";
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  ParentBasedSampler,
  RandomIdGenerator,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from "@opentelemetry/sdk-trace";
import type { IdGenerator, Sampler, SpanProcessor } from "@opentelemetry/sdk-trace";
import type { Sampling } from "./otel-variables.ts";
import type { Attributes, Span, SpanOptions, Tracer } from "./span.ts";
import { traceparentOf } from "./traceparent.ts";

const kinds = {
  server: SpanKind.SERVER,
  client: SpanKind.CLIENT,
  producer: SpanKind.PRODUCER,
  consumer: SpanKind.CONSUMER,
  internal: SpanKind.INTERNAL,
} as const;

/** What one span may hold. Longer texts are cut, further attributes and links are counted as dropped. */
const LIMITS = { attributeCountLimit: 64, linkCountLimit: 64, attributeValueLengthLimit: 64 * 1024 };

/**
 * A tracer of OpenTelemetry's SDK.
 *
 * This module and what it imports are loaded only where tracing is on.
 * @param resource the attributes of the process: `service.name` and others
 * @param processor gets each span of a sampled trace that has ended
 */
export function openTracer(resource: Attributes, processor: SpanProcessor, sampling: Sampling): Tracer {
  const ids = new ChosenIds();
  const provider = new TracerProvider({
    resource: resourceFromAttributes(copyOf(resource)),
    idGenerator: ids,
    sampler: samplerOf(sampling),
    spanLimits: LIMITS,
    spanProcessors: [processor],
  });
  const tracer = provider.getTracer("synapse-edge");
  return {
    start(name, options) {
      const { kind, parent, attributes = {}, links = [], startMs } = options;
      const started = ids.choose(options.ids, () =>
        tracer.startSpan(
          name,
          {
            kind: kinds[kind],
            attributes: copyOf(attributes),
            links: links.flatMap(linkTo),
            ...(startMs !== undefined && { startTime: startMs }),
          },
          contextOf(parent),
        ),
      );
      return {
        traceparent: traceparentOf(started.spanContext()),
        rename: (other) => void started.updateName(other),
        set: (more) => void started.setAttributes(copyOf(more)),
        fail(error) {
          started.setAttribute("error.type", errorTypeOf(error));
          started.setStatus({ code: SpanStatusCode.ERROR });
        },
        end: () => started.end(),
      } satisfies Span;
    },
  };
}

/** The ratio decides by the trace's id, so all processes decide alike. */
function samplerOf({ OTEL_TRACES_SAMPLER: name, OTEL_TRACES_SAMPLER_ARG: ratio }: Sampling): Sampler {
  const root = name.endsWith("always_on")
    ? new AlwaysOnSampler()
    : name.endsWith("always_off")
      ? new AlwaysOffSampler()
      : new TraceIdRatioBasedSampler(ratio);
  return name.startsWith("parentbased_") ? new ParentBasedSampler({ root }) : root;
}

function contextOf(traceparent: string | null): Context {
  const parent = traceparent === null ? null : parseTraceParent(traceparent);
  return parent === null ? ROOT_CONTEXT : trace.setSpanContext(ROOT_CONTEXT, { ...parent, isRemote: true });
}

function linkTo(traceparent: string): Link[] {
  const context = parseTraceParent(traceparent);
  return context === null ? [] : [{ context: { ...context, isRemote: true } }];
}

/** The attributes with arrays that the SDK may change, as its type demands. */
function copyOf(attributes: Attributes) {
  return Object.fromEntries(
    Object.entries(attributes).map(([name, value]) => [name, typeof value === "object" ? [...value] : value]),
  );
}

/** The kind of an error: its code (ours, an SQLSTATE or an errno), else its class. None of them quotes a message. */
function errorTypeOf(error: unknown): string {
  if (typeof error !== "object" || error === null) return "_OTHER";
  if ("code" in error && (typeof error.code === "string" || typeof error.code === "number"))
    return String(error.code);
  if ("why" in error && typeof error.why === "string") return error.why;
  return error instanceof Error ? error.name : "_OTHER";
}

/** The source of ids: random ones, or those that the options of a span name. */
class ChosenIds implements IdGenerator {
  readonly #random = new RandomIdGenerator();
  #chosen: SpanOptions["ids"];

  choose<Started>(ids: SpanOptions["ids"], start: () => Started): Started {
    this.#chosen = ids;
    try {
      return start();
    } finally {
      this.#chosen = undefined;
    }
  }

  generateTraceId(): string {
    return this.#chosen?.traceId ?? this.#random.generateTraceId();
  }

  generateSpanId(): string {
    return this.#chosen?.spanId ?? this.#random.generateSpanId();
  }
}
