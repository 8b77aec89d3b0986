/** One tenant's programs do not delay another tenant's, and each program can be stopped. */
import { readFileSync, readdirSync } from "node:fs";
import { availableParallelism, getPriority } from "node:os";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { createSandbox, type SharedSandbox } from "../../../worker-node/engine/sandbox.ts";
import { FairQueue } from "../../../worker-node/engine/fair-queue.ts";

const ENDLESS = "while (true) {}";
let shared: SharedSandbox;
let stopping: AbortController;
beforeEach(() => {
  shared = createSandbox();
  stopping = new AbortController();
});
afterEach(async () => {
  vi.useRealTimers();
  stopping.abort(new Error("the test is over"));
  await shared.close();
  // A thread that is terminated ends a moment later; the next test counts threads by their priority.
  if (process.platform === "linux") await expect.poll(priorities).not.toContain(getPriority() + 10);
});

const sandboxOf = (tenant: string, signal = stopping.signal) => shared.of({ tenant, signal });

/** Submits endless programs, which the end of the test stops. @returns how many of them have ended by themselves */
function flood(count: number, submit: () => Promise<unknown>): () => number {
  let ended = 0;
  for (let i = 0; i < count; i++) {
    submit()
      .catch(() => {})
      .finally(() => (ended += 1));
  }
  return () => ended;
}

describe("a tenant's endless programs", () => {
  test.each([
    ["condition", () => sandboxOf("quiet").evaluate("state.n > 1", { n: 2 })],
    ["program", () => sandboxOf("quiet").transform("result = state.n + 1", { n: 2 })],
  ])("do not delay another tenant's %s", async (_, work) => {
    const ended = flood(36, () => sandboxOf("loud").transform(ENDLESS, {}));
    await work();
    expect(ended()).toBe(0);
  });

  test("do not delay a condition of their own tenant", async () => {
    const ended = flood(9, () => sandboxOf("loud").transform(ENDLESS, {}));
    await sandboxOf("loud").evaluate("1 + 1", {});
    expect(ended()).toBe(0);
  });
});

test("a tenant's endless conditions do not delay another tenant's condition", async () => {
  const ended = flood(9, () => sandboxOf("loud").evaluate("(() => { for (;;); })()", {}));
  await sandboxOf("quiet").evaluate("1 + 1", {});
  // The thread that serves the loud tenant may be that which started first.
  expect(ended()).toBeLessThanOrEqual(1);
});

/**
 * Uses more processor time than a short program may. The clock of a test with it stands still, so that its tenant counts as one with long
 * programs however slow the machine is.
 */
const LONG = "for (let i = 0; i < 1e7; i++); result = 1";

test("endless programs of several tenants leave a thread to tenants with short ones", async () => {
  vi.useFakeTimers({ toFake: ["performance"] });
  const floodingTenants = ["loud-1", "loud-2", "loud-3"];
  for (const tenant of floodingTenants) await sandboxOf(tenant).transform(LONG, {});
  const ended = floodingTenants.map((tenant) => flood(3, () => sandboxOf(tenant).transform(ENDLESS, {})));
  expect(await sandboxOf("quiet").transform("result = 1", {})).toBe(1);
  expect(ended.map((count) => count())).toEqual([0, 0, 0]);
});

test.runIf(process.platform === "linux" && availableParallelism() < 4)(
  "long programs take at most half of the processors",
  async () => {
    vi.useFakeTimers({ toFake: ["performance"] });
    await sandboxOf("loud").transform(LONG, {});
    flood(3, () => sandboxOf("loud").transform(ENDLESS, {}));
    await expect.poll(priorities).toContain(getPriority() + 10);
    await sandboxOf("quiet").transform(LONG, {});
    expect(priorities().filter((priority) => priority === getPriority() + 10)).toHaveLength(1);
  },
);

// Fails when a tenant is forgotten while its program runs: on a busy machine a long program takes more than the minute in which its tenant
// counts as one with long programs.
test.runIf(process.platform === "linux" && availableParallelism() < 4)(
  "a tenant whose long program runs has no second thread, however long it runs",
  async () => {
    vi.useFakeTimers({ toFake: ["performance"] });
    flood(1, () => sandboxOf("loud").transform(ENDLESS, {}));
    await expect.poll(priorities).toContain(getPriority() + 10);
    await sandboxOf("quiet").transform("result = 1", {});
    vi.advanceTimersByTime(61_000);
    const ended = flood(1, () => sandboxOf("loud").transform("result = 1", {}));
    for (let i = 0; i < 10; i++) expect(await sandboxOf("quiet").transform("result = 1", {})).toBe(1);
    expect(ended()).toBe(0);
  },
);

/** The priority of each thread of this process: the 19th field of its line, the 17th after its name. */
function priorities(): number[] {
  return readdirSync("/proc/self/task").map((thread) => {
    const stat = readFileSync(`/proc/self/task/${thread}/stat`, "utf8");
    return Number(stat.slice(stat.lastIndexOf(") ") + 2).split(" ")[16]);
  });
}

test.runIf(process.platform === "linux")(
  "programs yield the processor to the worker's own thread",
  async () => {
    await sandboxOf("loud").evaluate("1 + 1", {});
    expect(priorities().filter((priority) => priority === getPriority() + 5)).toHaveLength(1);
  },
);

test.runIf(process.platform === "linux")(
  "a long program yields the processor to short programs, also while it runs",
  async () => {
    const own = getPriority();
    flood(1, () => sandboxOf("loud").transform(ENDLESS, {}));
    await expect.poll(priorities).toContain(own + 10);
    stopping.abort(new Error("it has run long enough"));
    stopping = new AbortController();
    await sandboxOf("loud").transform(LONG, {});
    // The next program gets a thread with the usual priority: the same one or, where its priority cannot be raised, another.
    await sandboxOf("loud").transform("result = 1", {});
    await expect.poll(() => priorities().filter((priority) => priority > own)).toEqual([own + 5]);
  },
);

describe("a program that is cancelled", () => {
  test("is stopped while it runs, and its thread serves the next one", async () => {
    const cancelling = new AbortController();
    const running = [1, 2].map(() => sandboxOf("acme", cancelling.signal).transform(ENDLESS, {}));
    const outcomes = Promise.allSettled(running);
    await sandboxOf("acme").evaluate("1", {});
    const cancelled = new Error("the run was cancelled");
    cancelling.abort(cancelled);
    expect(await sandboxOf("acme").transform("result = 1", {})).toBe(1);
    expect(await outcomes).toEqual([1, 2].map(() => ({ status: "rejected", reason: cancelled })));
  });

  test("never begins when it waits", async () => {
    const cancelling = new AbortController();
    flood(2, () => sandboxOf("acme").transform(ENDLESS, {}));
    const waiting = sandboxOf("acme", cancelling.signal).transform("result = 1", {});
    const rejected = expect(waiting).rejects.toThrow("the run was cancelled");
    cancelling.abort(new Error("the run was cancelled"));
    await rejected;
    await expect(sandboxOf("acme", cancelling.signal).evaluate("1", {})).rejects.toThrow(
      "the run was cancelled",
    );
  });
});

test("tenants take turns, whatever the number of their items", () => {
  const queue = new FairQueue<string>();
  for (const item of ["a1", "a2", "a3", "b1", "c1", "b2"]) queue.push(item.slice(0, 1), item);
  expect(queue.remove("a", "a2")).toBe(true);
  expect(queue.remove("a", "a2")).toBe(false);
  const taken = Array.from({ length: 6 }, () => queue.take(() => true));
  expect(taken).toEqual(["a1", "b1", "c1", "a3", "b2", undefined]);
});

test("a tenant that may not take leaves its turn to the next one", () => {
  const queue = new FairQueue<string>();
  for (const item of ["a1", "b1"]) queue.push(item.slice(0, 1), item);
  expect(queue.take((tenant) => tenant !== "a")).toBe("b1");
  expect(queue.take((tenant) => tenant !== "a")).toBe(undefined);
  expect(queue.clear()).toEqual(["a1"]);
});
