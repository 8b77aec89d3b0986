import { afterEach, beforeEach, expect, test } from "vitest";
import { readConfig, withSettings } from "../../../edge/env.ts";
import { EdgeExporter } from "../../../edge/tracing/edge-exporter.ts";
import { tracingOf } from "../../../edge/tracing/edge-tracing.ts";
import { startCollector } from "../../services/otlp/collector.ts";
import type { Collector } from "../../services/otlp/collector.ts";
import { endSpans } from "../../services/otlp/spans.ts";

let collector: Collector;
let exporter: EdgeExporter;
let pending: Promise<unknown>[] = [];
beforeEach(async () => {
  collector = await startCollector();
  exporter = new EdgeExporter({ endpoint: collector.httpUrl, headers: {} });
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

// Fails when another collector gets the token of the first one.
test("an edge's exports have the headers and its spans the attributes of the variables", async () => {
  const other = await startCollector();
  const variables = readConfig({
    UPSTASH_REDIS_REST_URL: "http://127.0.0.1:1",
    UPSTASH_REDIS_REST_TOKEN: "t",
    REDIS_URL: "redis://127.0.0.1:1",
    STREAM_TOKEN_SECRET: "s".repeat(32),
    OTLP_HTTP_ENDPOINT: collector.httpUrl,
    OTEL_EXPORTER_OTLP_HEADERS: "X-Api-Key=secret",
    OTEL_RESOURCE_ATTRIBUTES: "team=a",
  });
  for (const config of [variables, withSettings(variables, { OTLP_HTTP_ENDPOINT: other.httpUrl })]) {
    const waitUntil = (work: Promise<unknown>) => void pending.push(work);
    const tracing = await tracingOf(config, waitUntil);
    tracing?.tracer.start("one", { kind: "server", parent: null }).end();
    tracing?.flush(waitUntil);
    await Promise.all(pending);
  }
  expect(collector.spans).toMatchObject([{ service: "synapse-edge", resource: { team: "a" } }]);
  expect(collector.headers).toMatchObject([{ "x-api-key": "secret" }]);
  expect(other.spans).toHaveLength(1);
  expect(JSON.stringify(other.headers)).not.toContain("secret");
  other.stop();
});
