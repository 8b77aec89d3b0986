/** The edge's spans from a real workerd: they are recorded, written and sent by what the runtime has. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { startCollector } from "../services/otlp/collector.ts";
import type { Collector } from "../services/otlp/collector.ts";
import { startEdge } from "./edge.ts";
import type { ReceivedSpan } from "../services/otlp/received-span.ts";
import type { Edge } from "./edge.ts";

let collector: Collector;
let edge: Edge;
beforeAll(async () => {
  collector = await startCollector();
  // `npm start` passes the collector's address for workers. No collector listens on port 4318 here, so the second variable names
  // the address for edges.
  edge = await startEdge(1, { OTLP_ENDPOINT: collector.grpcUrl, OTLP_HTTP_ENDPOINT: collector.httpUrl });
});
afterAll(async () => {
  await edge.stop();
  collector.stop();
});

test("a POST is a trace of the request, its statements, the batch in the intake object and its scripts", async () => {
  const key = "canary-of-a-query";
  const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  const answer = await edge.call("POST", "/api/v2/orchestrations/orch_smoke/run", {
    body: { message: "canary-of-the-message", state: { secret: "canary-of-state" } },
    headers: { traceparent },
  });
  expect(answer.status).toBe(202);
  const own = answer.headers.get("traceparent")?.split("-") ?? [];
  expect(own[1]).toBe("4bf92f3577b34da6a3ce929d0e0e4736");
  const has = (name: string) => collector.span(name, (span) => span.traceId === own[1] && span.name === name);
  const request = await has("POST /api/v2/orchestrations/:id/run");
  expect(request).toMatchObject({
    service: "synapse-edge",
    kind: 2,
    spanId: own[2],
    parentSpanId: "00f067aa0ba902b7",
  });
  const sent = await has("send default");
  expect(sent).toMatchObject({ kind: 4, parentSpanId: request.spanId });
  expect(await has("redis admit")).toMatchObject({ parentSpanId: sent.spanId });
  expect(await has("redis enqueue")).toMatchObject({ parentSpanId: sent.spanId });
  expect(await has("postgres INSERT idempotency_keys")).toMatchObject({
    parentSpanId: sent.spanId,
    attributes: { "db.system.name": "postgresql" },
  });
  await edge.call("GET", `/api/v2/orchestrations/runs?metadata.k=${key}`);
  const list = await collector.span("the list", ({ name }) => name === "GET /api/v2/orchestrations/runs");
  const isStatement = ({ name, parentSpanId }: ReceivedSpan) =>
    name.startsWith("postgres SELECT") && parentSpanId === list.spanId;
  expect(await collector.span("its statement", isStatement)).toMatchObject({ traceId: list.traceId });
  expect(collector.bodies.join("\n")).not.toMatch(/canary/);
  expect(collector.bodies.join("\n")).not.toContain(edge.platformKey);
});
