import { expect, test } from "vitest";
import { newIncarnation } from "../../../shared/contracts/ids.ts";
import { SpanBuffer } from "../../../shared/tracing/span-buffer.ts";
import { openTracer } from "../../../shared/tracing/tracer.ts";
import { ExecutionSpans } from "../../../worker-node/tracing/execution-spans.ts";
import { inStoreSpan } from "../../../worker-node/tracing/store-spans.ts";
import type { StoreCall } from "../../../worker-node/tracing/tracing.ts";
import { FakeStore } from "../fake-store.ts";

const claimedRun = new FakeStore().claimed(newIncarnation("w1"));

const failsWith = (text: string) => () => Promise.reject(new Error(text));

/** Names and statuses (2: failed) of the spans of these calls. */
async function spansOf(calls: [StoreCall, () => Promise<unknown>][]): Promise<[string, number][]> {
  const buffer = new SpanBuffer();
  const tracer = openTracer({ "service.name": "test" }, buffer);
  const executions = new ExecutionSpans(tracer);
  executions.begin(claimedRun);
  for (const [call, work] of calls) await inStoreSpan(tracer, executions, call, work).catch(() => {});
  return buffer.take().map(({ span }) => [span.name, span.status.code]);
}

const ofRun = { store: "redis" as const, args: [claimedRun.run_id] };
const ofNoRun = { store: "redis" as const, args: ["w1"] };

// Fails when each beat of an idle worker is a trace of its own, or when one that fails is not seen.
test("a statement of no run has a span only if it fails", async () => {
  expect(
    await spansOf([
      [{ ...ofNoRun, operation: "beat" }, () => Promise.resolve(1)],
      [{ ...ofNoRun, operation: "claim" }, failsWith("connection lost")],
      [{ ...ofRun, operation: "renew" }, () => Promise.resolve(1)],
    ]),
  ).toEqual([
    ["redis claim", 2],
    ["redis renew", 0],
  ]);
});

// Fails when each script is a failed span once after a restart of Redis.
test("a script that Redis does not know yet is no failure", async () => {
  const unknown = failsWith("NOSCRIPT No matching script.");
  expect(
    await spansOf([
      [{ ...ofNoRun, operation: "claim" }, unknown],
      [{ ...ofRun, operation: "renew" }, unknown],
      [{ ...ofRun, operation: "finish" }, failsWith("LOADING")],
    ]),
  ).toEqual([
    ["redis renew", 0],
    ["redis finish", 2],
  ]);
});
