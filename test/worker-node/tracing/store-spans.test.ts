import { expect, test } from "vitest";
import type { ClaimedRun } from "../../../shared/store/runs/claim-runs.ts";
import { newIncarnation } from "../../../shared/contracts/ids.ts";
import { SpanBuffer } from "../../../shared/tracing/span-buffer.ts";
import { openTracer } from "../../../shared/tracing/tracer.ts";
import { ExecutionSpans } from "../../../worker-node/tracing/execution-spans.ts";
import { inStoreSpan } from "../../../worker-node/tracing/store-spans.ts";
import type { StoreCall } from "../../../worker-node/tracing/tracing.ts";
import { allTraces } from "../../services/otlp/spans.ts";
import { slowPeer } from "../../services/waiting.ts";
import { FakeStore } from "../fake-store.ts";

const claimedRun = new FakeStore().claimed(newIncarnation("w1"));
const otherRun = new FakeStore().claimed(newIncarnation("w1"));

const done = () => Promise.resolve(1);
const failsWith = (text: string) => () => Promise.reject(new Error(text));

type Work = [StoreCall, () => Promise<unknown>];

/** The spans of these calls during an execution of each run, and of the executions. */
async function executed(runs: ClaimedRun[], calls: Work[]) {
  const buffer = new SpanBuffer();
  const tracer = openTracer({ "service.name": "test" }, buffer, allTraces);
  const executions = new ExecutionSpans(tracer);
  const spans = runs.map((run) => executions.begin(run));
  for (const [call, work] of calls) await inStoreSpan(tracer, executions, call, work).catch(() => {});
  for (const span of spans) span.end();
  return buffer.take().map(({ span }) => span);
}

const isExecution = ({ name }: { name: string }): boolean => name.startsWith("process ");

/** Names and statuses (2: failed) of the spans of these calls. */
async function spansOf(calls: Work[]): Promise<[string, number][]> {
  const spans = await executed([claimedRun], calls);
  return spans.filter((span) => !isExecution(span)).map((span) => [span.name, span.status.code]);
}

/** The flush of a run's entry of this kind, and the publish that follows it. */
function committed(kind: "note" | "step", run = claimedRun, work: () => Promise<unknown> = done): Work[] {
  const flush = { store: "postgres" as const, operation: "flush", args: [[{ run_id: run.run_id, kind }]] };
  return [
    [flush, work],
    [{ store: "redis", operation: "XADD", args: [run.run_id] }, done],
  ];
}

const callOfRun = { store: "redis" as const, args: [claimedRun.run_id] };
const callOfNoRun = { store: "redis" as const, args: ["w1"] };

// Fails when each beat of an idle worker is a trace of its own, or when a failed beat has no span.
test("a statement of no run has a span only if it fails", async () => {
  expect(
    await spansOf([
      [{ ...callOfNoRun, operation: "beat" }, () => Promise.resolve(1)],
      [{ ...callOfNoRun, operation: "claim" }, failsWith("connection lost")],
      [{ ...callOfRun, operation: "renew" }, () => Promise.resolve(1)],
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
      [{ ...callOfNoRun, operation: "claim" }, unknown],
      [{ ...callOfRun, operation: "renew" }, unknown],
      [{ ...callOfRun, operation: "finish" }, failsWith("LOADING")],
    ]),
  ).toEqual([
    ["redis renew", 0],
    ["redis finish", 2],
  ]);
});

// Fails when an answer that streams for a minute is a thousand spans, among which its step cannot be found.
test("a thousand commits of a model's text are counted by the span of the execution, and those of results are spans", async () => {
  const text = Array.from({ length: 1_000 }, () => committed("note")).flat();
  const spans = await executed([claimedRun], [...text, ...committed("step")]);
  expect(spans.map(({ name }) => name)).toEqual([
    "postgres flush",
    "redis XADD",
    `process ${claimedRun.orchestration_id}`,
  ]);
  expect(spans.at(-1)?.attributes["synapse.run.event_flushes"]).toBe(1_000);
});

test("a commit of a model's text that fails or is slow is a span in the trace of its run", async () => {
  const slow = () => slowPeer(600);
  const spans = await executed(
    [claimedRun],
    [...committed("note", claimedRun, failsWith("connection lost")), ...committed("note", claimedRun, slow)],
  );
  const execution = spans.find(isExecution)?.spanContext().spanId;
  expect(spans.filter((span) => !isExecution(span)).map(({ name, status }) => [name, status.code])).toEqual([
    ["postgres flush", 2],
    ["postgres flush", 0],
  ]);
  for (const span of spans.filter((each) => !isExecution(each)))
    expect(span.parentSpanContext?.spanId).toBe(execution);
});

test("a flush for several runs belongs to those whose results it commits, whatever comes before them", async () => {
  const entries = [
    ...Array.from({ length: 40 }, () => ({ run_id: otherRun.run_id, kind: "note" })),
    { run_id: claimedRun.run_id, kind: "step" },
  ];
  const spans = await executed(
    [otherRun, claimedRun],
    [[{ store: "postgres", operation: "flush", args: [entries] }, done]],
  );
  const [flush, , own] = spans;
  expect(flush?.parentSpanContext?.spanId).toBe(own?.spanContext().spanId);
  expect(flush?.links).toEqual([]);
});
