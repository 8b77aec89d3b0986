import { expect, test } from "vitest";
import { SpanBuffer } from "../../../shared/tracing/span-buffer.ts";
import { samplerNames, type SamplerName } from "../../../shared/tracing/otel-variables.ts";
import { openTracer } from "../../../shared/tracing/tracer.ts";

const TRACES = 64;

/** The traces whose root is sent, and whose child is, when the root has no parent, a sampled one, or one that is not sampled. */
function sentBy(name: SamplerName, ratio: number) {
  const buffer = new SpanBuffer();
  const sampling = { OTEL_TRACES_SAMPLER: name, OTEL_TRACES_SAMPLER_ARG: ratio };
  const tracer = openTracer({ "service.name": "test" }, buffer, sampling);
  const sent = (flags: string | null) => {
    for (let i = 0; i < TRACES; i++) {
      // Trace ids over the whole range, as random ones are.
      const traceId = (BigInt(i) * 0x0400_0000n + 1n).toString(16).padStart(32, "0");
      const parent = flags === null ? null : `00-${traceId}-00000000000000ff-${flags}`;
      const root = tracer.start("root", {
        kind: "server",
        parent,
        ids: { traceId, spanId: "00000000000000aa" },
      });
      tracer.start("child", { kind: "internal", parent: root.traceparent }).end();
      root.end();
    }
    const spans = buffer.take().map(({ span }) => span);
    const of = (kind: string) =>
      new Set(spans.flatMap((s) => (s.name === kind ? s.spanContext().traceId : [])));
    expect(of("child")).toEqual(of("root"));
    return of("root").size;
  };
  return [sent(null), sent("01"), sent("00")];
}

// Fails when a part of a trace is sent without the rest, or when a caller's decision does not count where the name says that it does.
test.each<[SamplerName, number, number[]]>([
  ["always_on", 1, [64, 64, 64]],
  ["always_off", 1, [0, 0, 0]],
  ["traceidratio", 0.25, [16, 16, 16]],
  ["parentbased_always_on", 1, [64, 64, 0]],
  ["parentbased_always_off", 1, [0, 64, 0]],
  ["parentbased_traceidratio", 0.25, [16, 64, 0]],
])(
  "OTEL_TRACES_SAMPLER=%s with the argument %d sends whole traces, by their ids and their callers",
  (name, ratio, sent) => {
    expect(samplerNames).toContain(name);
    expect(sentBy(name, ratio)).toEqual(sent);
  },
);
