/** Log lines about a run have its id, its tenant, its trace and its correlation id, so that one search finds all of them. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { z } from "zod";
import { TenantId, newIncarnation, newRunId } from "../../shared/contracts/ids.ts";
import { aboutRun } from "../../shared/log.ts";
import { Queue } from "../../shared/queue/queue.ts";
import { waitForStore } from "../../worker-node/execution/wait-for-store.ts";
import { childStarts } from "../../worker-node/fleet/child-starts.ts";
import { EndedRuns } from "../../worker-node/fleet/ended-runs.ts";
import { Journal } from "../../worker-node/journal/journal.ts";
import { FakeStore } from "./fake-store.ts";

const owner = newIncarnation("w");
const trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
const run = {
  run_id: newRunId(Date.now()),
  tenant_id: TenantId.parse("acme"),
  traceparent: `00-${trace_id}-00f067aa0ba902b7-01`,
  correlation_id: "order-7",
};
const name = { run: run.run_id, tenant: run.tenant_id };
/** A queue that cannot be reached. */
const refuse = async (): Promise<unknown> => Promise.reject(new Error("no Redis here"));
const queue = new Queue({ evalsha: refuse, eval: refuse }, 1);

const Line = z.looseObject({ event: z.string() });
let lines: z.infer<typeof Line>[];
beforeEach(() => {
  lines = [];
  for (const level of ["log", "error"] as const) {
    vi.spyOn(console, level).mockImplementation(
      (text: string) => void lines.push(Line.parse(JSON.parse(text))),
    );
  }
});
afterEach(() => void vi.restoreAllMocks());

const expectLine = (event: string, about = run) =>
  expect(lines).toContainEqual(
    expect.objectContaining({ event, run: about.run_id, tenant: about.tenant_id, trace_id }),
  );

test("a failed read that waits for the store is in the trace of its run, with its correlation id", async () => {
  let reads = 0;
  const read = async (): Promise<string> => {
    reads += 1;
    if (reads === 1) throw new Error("connection refused");
    return "there";
  };
  expect(await waitForStore(run, new AbortController().signal, read)).toBe("there");
  expectLine("run.store_read_failed");
  expect(lines).toContainEqual(expect.objectContaining({ correlation_id: "order-7" }));
});

test("a child that the queue cannot admit is in the trace of its parent", async () => {
  const children = childStarts({ queue, maxDepth: () => 1, isolation: true, hint: () => {} });
  expect(await children.admit(name, run.traceparent)).toMatchObject({ is: "wait" });
  expectLine("child.not_admitted");
});

test("a park whose release the queue did not get is in the trace of its run", async () => {
  const ended = new EndedRuns({ owner, queue, delayMs: () => null });
  const job = { ...name, lane: "default" as const, score: 1 };
  await ended.onEnd(job, { is: "parked", status: "paused", delayMs: 0 }, aboutRun(run));
  expectLine("run.release_failed");
});

test("an entry that Postgres will never accept is in the trace of its run", async () => {
  const fake = new FakeStore();
  fake.store.flush = () => Promise.reject(new RangeError("Invalid string length"));
  const opened = { ...fake.open(owner), traceparent: run.traceparent };
  const log = new Journal(owner, fake.store, () => {}).open(opened, new AbortController());
  const entry = {
    kind: "turn",
    step_path: "a",
    visit: 1,
    output: "{}",
    events: [],
    usage: [],
    deadline_ms: 1,
  } as const;
  expect(await log.append(entry)).toMatchObject({ is: "rejected" });
  expectLine("journal.entry_rejected", { ...run, run_id: opened.run_id });
});
