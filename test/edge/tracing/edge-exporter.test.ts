import { afterEach, beforeEach, expect, test } from "vitest";
import { EdgeExporter } from "../../../edge/tracing/edge-exporter.ts";
import { startCollector } from "../../services/otlp/collector.ts";
import type { Collector } from "../../services/otlp/collector.ts";
import { endSpans } from "../../services/otlp/spans.ts";

let collector: Collector;
let exporter: EdgeExporter;
let pending: Promise<unknown>[] = [];
beforeEach(async () => {
  collector = await startCollector();
  exporter = new EdgeExporter(collector.httpUrl);
  pending = [];
});
afterEach(() => collector.stop());

const request = () => exporter.flush((work) => void pending.push(work));

// Fails when a batch is dropped after a 503 with Retry-After, as OpenTelemetry's own exporter drops it.
test("a collector that answers 503 with Retry-After gets every span once, when it accepts spans again", async () => {
  Object.assign(collector.busy, { times: 2, retryAfter: "1" });
  endSpans(exporter.buffer, 600);
  request();
  await Promise.all(pending);
  expect(collector.busy.refused).toBe(2);
  expect(collector.spans.map(({ name }) => name)).toEqual(Array.from({ length: 600 }, (_, n) => `span ${n}`));
});

test("one request at a time sends the spans of all requests", async () => {
  endSpans(exporter.buffer, 1);
  request();
  endSpans(exporter.buffer, 1);
  request();
  expect(pending).toHaveLength(1);
  await Promise.all(pending);
  expect(collector.spans).toHaveLength(2);
  expect(collector.bodies).toHaveLength(1);
  request();
  expect(pending).toHaveLength(1);
});

test("a collector that is busy for longer than a request may send leaves the spans to a later request", async () => {
  Object.assign(collector.busy, { times: 1, retryAfter: "60" });
  endSpans(exporter.buffer, 2);
  request();
  await Promise.all(pending);
  expect(collector.spans).toEqual([]);
  expect(exporter.buffer.size).toBe(2);
  // Until then no request tries.
  request();
  expect(pending).toHaveLength(1);
});
