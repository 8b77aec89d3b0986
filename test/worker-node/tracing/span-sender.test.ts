import { createServer } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { LiveTracing } from "../../../worker-node/tracing/tracing.ts";
import { addressOf, openGrpcExport } from "../../../worker-node/tracing/grpc-export.ts";
import { SpanSender } from "../../../worker-node/tracing/span-sender.ts";
import { startCollector } from "../../services/otlp/collector.ts";
import type { Collector } from "../../services/otlp/collector.ts";
import { allTraces, endSpans } from "../../services/otlp/spans.ts";
import { until } from "../../services/waiting.ts";

let collector: Collector;
let sender: SpanSender;
beforeEach(async () => {
  collector = await startCollector();
  sender = new SpanSender(openGrpcExport({ endpoint: collector.grpcUrl, headers: {} }));
  sender.start();
});
afterEach(async () => {
  await sender.close();
  collector.stop();
});

const names = () => collector.spans.map(({ name }) => name);

// Fails when gRPC decides about the port: it takes 443 where an address has none, and URL leaves out the port that its scheme has by itself.
test.each([
  ["http://collector:4317", "collector:4317"],
  ["http://collector:80", "collector:80"],
  ["http://collector", "collector:80"],
  ["https://collector.example:443/", "collector.example:443"],
  ["http://[::1]:4317", "[::1]:4317"],
])("OTLP_ENDPOINT=%s is the address %s", (endpoint, address) => {
  expect(addressOf(endpoint)).toBe(address);
});

// Fails when UNAVAILABLE loses the batch, or sends it twice after it was taken.
test("a collector that answers UNAVAILABLE gets every span once, in order, when it accepts spans again", async () => {
  collector.busy.times = 2;
  endSpans(sender.buffer, 700);
  await until("all spans have arrived", () => collector.spans.length >= 700);
  expect(collector.busy.refused).toBe(2);
  expect(names()).toEqual(Array.from({ length: 700 }, (_, n) => `span ${n}`));
});

// Fails when close() does not wait for the export under way, or sleeps the rest of the second first.
test("a sender that is closed has sent what it had", async () => {
  endSpans(sender.buffer, 3);
  await sender.close();
  expect(names()).toEqual(["span 0", "span 1", "span 2"]);
});

test("a sender that is closed while the collector is busy tries again until its spans are accepted", async () => {
  collector.busy.times = 3;
  endSpans(sender.buffer, 3);
  await sender.close();
  expect(collector.busy.refused).toBe(3);
  expect(names()).toHaveLength(3);
});

test("a batch that the collector will never accept is dropped, and the next one is sent", async () => {
  const outcomes = ["refused", "sent"] as const;
  const sent: string[] = [];
  let call = 0;
  const other = new SpanSender({
    send: (batch) => {
      const is = outcomes[call++] ?? "sent";
      if (is === "sent") sent.push(...batch.map(({ span }) => span.name));
      return Promise.resolve(is === "sent" ? { is } : { is, why: "INVALID_ARGUMENT" });
    },
    close() {},
  });
  endSpans(other.buffer, 600);
  other.start();
  await other.close();
  expect(sent).toHaveLength(600 - 512);
});

test("a collector that never answers does not keep a worker from stopping", async () => {
  const mute = createServer(() => {});
  await new Promise<void>((resolve) => mute.listen(0, "127.0.0.1", resolve));
  const address = mute.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  const other = new SpanSender(openGrpcExport({ endpoint: `http://127.0.0.1:${address.port}`, headers: {} }));
  other.start();
  endSpans(other.buffer, 1);
  await other.close();
  mute.close();
});

// Fails when spans wait for the old collector's next try, or are lost with it.
test("a sender that is moved sends its waiting spans to the new collector at once", async () => {
  const next = await startCollector();
  collector.busy.times = Infinity;
  // The old collector takes nothing for a minute.
  const closed: string[] = [];
  const old = openGrpcExport({ endpoint: collector.grpcUrl, headers: {} });
  const moved = new SpanSender({
    send: async (batch) => {
      const outcome = await old.send(batch);
      return outcome.is === "busy" ? { ...outcome, retryAfterMs: 60_000 } : outcome;
    },
    close: () => {
      closed.push("old");
      old.close();
    },
  });
  moved.start();
  endSpans(moved.buffer, 3);
  await until("the old collector has refused them", () => collector.busy.refused > 0);
  moved.moveTo(openGrpcExport({ endpoint: next.grpcUrl, headers: {} }));
  await until("the new collector has them", () => next.spans.length >= 3);
  expect([next.spans.length, collector.spans.length, closed]).toEqual([3, 0, ["old"]]);
  await moved.close();
  next.stop();
});

// Fails when a batch is lost that the old collector got and did not take, or when its connection is cut under way.
test("a batch under way at a move stays with the old collector, and goes to the new one if that refuses it", async () => {
  const refusal = Promise.withResolvers<void>();
  const events: string[] = [];
  const other = new SpanSender({
    send: async () => {
      events.push("old gets it");
      await refusal.promise;
      return { is: "busy", retryAfterMs: null, why: "away" };
    },
    close: () => void events.push("old is closed"),
  });
  other.start();
  endSpans(other.buffer, 1);
  await until("the batch is under way", () => events.length > 0);
  other.moveTo({
    send: async (batch) => {
      events.push(`new gets ${batch.length}`);
      return { is: "sent" };
    },
    close() {},
  });
  expect(events).toEqual(["old gets it"]);
  refusal.resolve();
  await until("the new collector has it", () => events.length > 2);
  expect(events).toEqual(["old gets it", "old is closed", "new gets 1"]);
  await other.close();
});

// Fails when gRPC gets a name in capitals, which it refuses, or another collector gets the token of the first.
test("a worker's exports have the headers and its spans the attributes of the variables", async () => {
  const other = await startCollector();
  const tracing = new LiveTracing(
    {
      OTLP_ENDPOINT: collector.grpcUrl,
      OTLP_CONTENT: false,
      OTEL_EXPORTER_OTLP_HEADERS: { "X-Api-Key": "secret" },
      OTEL_RESOURCE_ATTRIBUTES: { team: "a" },
      OTEL_SERVICE_NAME: "mine",
      ...allTraces,
    },
    "w#1",
  );
  const endSpan = () => tracing.current()?.tracer.start("one", { kind: "internal", parent: null }).end();
  await tracing.use(collector.grpcUrl);
  endSpan();
  const span = await collector.span("a span", () => true);
  expect(span).toMatchObject({ service: "mine", resource: { team: "a", "service.instance.id": "w#1" } });
  expect(collector.headers[0]).toMatchObject({ "x-api-key": "secret" });
  await tracing.use(other.grpcUrl);
  endSpan();
  await tracing.close();
  expect(other.spans).toHaveLength(1);
  expect(JSON.stringify(other.headers)).not.toContain("secret");
  other.stop();
});
