import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { QueueVerdict } from "../../../shared/queue/verdict.ts";
import { job, limits, runOf, START_MS, tenant, TestQueue } from "./fixture.ts";
import { openIndex, rebuild } from "./open-index.ts";

let t: TestQueue;
beforeAll(async () => {
  t = await TestQueue.start();
});
afterAll(() => t.stop());

const ask = async (number: number, of = "acme", maxDepth = 1000): Promise<QueueVerdict | undefined> =>
  (await t.queue.admit([{ run: runOf(number), tenant: tenant(of) }], maxDepth))[0];

describe("a run that asks to be let in", () => {
  beforeEach(() => t.begin(limits("acme", { maxQueuedRuns: 3, requestsPerSecond: 2 }), limits("other")));

  test("gets a place, which counts against the tenant's queue", async () => {
    expect(await ask(1)).toEqual({ ok: true });
    expect(await t.queue.stats(0)).toMatchObject({ reserved: 1, ready: 0 });
    expect(await t.queue.tenantStats(tenant("acme"))).toEqual({ active: 0, queuedOrReserved: 1 });
  });

  test("is let in again when the request is repeated, and takes no second place or token", async () => {
    for (let i = 0; i < 5; i++) expect(await ask(1)).toEqual({ ok: true });
    expect(await t.queue.tenantStats(tenant("acme"))).toEqual({ active: 0, queuedOrReserved: 1 });
    expect(await ask(2)).toEqual({ ok: true });
  });

  test("is told when there will be a token again, and the time is right", async () => {
    expect(await ask(1)).toEqual({ ok: true });
    expect(await ask(2)).toEqual({ ok: true });
    expect(await ask(3)).toEqual({ ok: false, reason: "rate", retryMs: 500 });
    t.clock.nowMs += 499;
    expect(await ask(3)).toEqual({ ok: false, reason: "rate", retryMs: 1 });
    t.clock.nowMs += 1;
    expect(await ask(3)).toEqual({ ok: true });
  });

  test("finds at most one second's tokens after a long rest", async () => {
    t.clock.nowMs += 3_600_000;
    expect(await ask(1)).toEqual({ ok: true });
    expect(await ask(2)).toEqual({ ok: true });
    expect(await ask(3)).toMatchObject({ reason: "rate" });
  });

  test("is refused beyond max_queued_runs, whatever the others' queues are", async () => {
    await t.queue.enqueue([job(1, "acme"), job(2, "acme", { delayMs: 5000 }), job(9, "other")]);
    expect(await ask(3)).toEqual({ ok: true });
    expect(await ask(4)).toEqual({ ok: false, reason: "queued", limit: 3 });
    expect(await ask(5, "other")).toEqual({ ok: true });
  });

  test("does not count paused and leased runs of its tenant", async () => {
    await t.queue.enqueue([
      job(1, "acme"),
      job(2, "acme", { status: "paused", delayMs: 5000 }),
      job(3, "acme"),
    ]);
    await t.claim("w1", 2);
    t.clock.nowMs += 10_000 - 5001;
    for (const number of [4, 5]) expect(await ask(number)).toEqual({ ok: true });
  });

  test("is refused when the shard is full, and takes no token", async () => {
    expect(await ask(1, "other", 1)).toEqual({ ok: true });
    for (let i = 0; i < 3; i++) expect(await ask(2, "acme", 1)).toEqual({ ok: false, reason: "depth" });
    expect(await ask(2)).toEqual({ ok: true });
    expect(await ask(3)).toEqual({ ok: true });
  });

  test("is refused when its tenant is disabled, has no rate, or is not known here", async () => {
    await t.queue.pushLimits([
      limits("off", { maxConcurrentRuns: 0 }),
      limits("mute", { requestsPerSecond: 0 }),
    ]);
    expect(await ask(1, "off")).toEqual({ ok: false, reason: "disabled" });
    expect(await ask(1, "mute")).toEqual({ ok: false, reason: "rate", retryMs: 60_000 });
    expect(await ask(1, "stranger")).toEqual({ ok: false, reason: "unknown" });
  });

  test("gets an answer of its own in a batch", async () => {
    const requests = [1, 2, 3].map((number) => ({ run: runOf(number), tenant: tenant("acme") }));
    const answers = await t.queue.admit([...requests, { run: runOf(4), tenant: tenant("stranger") }], 10);
    expect(answers).toEqual([
      { ok: true },
      { ok: true },
      { ok: false, reason: "rate", retryMs: 500 },
      { ok: false, reason: "unknown" },
    ]);
  });

  test("gives its place back after 30 s, unless it has been enqueued", async () => {
    await ask(1);
    await ask(2);
    await t.queue.enqueue([job(2, "acme")]);
    t.clock.nowMs += 29_999;
    await ask(1);
    expect(await t.queue.tenantStats(tenant("acme"))).toEqual({ active: 0, queuedOrReserved: 2 });
    t.clock.nowMs += 1;
    await t.claim("w1", 0);
    expect(await t.queue.tenantStats(tenant("acme"))).toEqual({ active: 0, queuedOrReserved: 1 });
    expect(await t.claim("w1", 9)).toEqual([2]);
  });

  test("gives its place back at once when the edge finishes it", async () => {
    await ask(1);
    await t.queue.finish([{ run: runOf(1), tenant: tenant("acme") }], "");
    expect(await t.queue.stats(0)).toMatchObject({ reserved: 0 });
  });
});

describe("while the index is not finished", () => {
  test("nobody is let in: a cold shard cannot count", async () => {
    await t.redis.flushall();
    expect(await ask(1)).toEqual({ ok: false, reason: "cold" });
    await t.queue.pushLimits([limits("acme")]);
    expect(await ask(1)).toEqual({ ok: false, reason: "cold" });
  });

  test("nobody is let in until the walks that follow the rebuild are through; who asks has a place all the same", async () => {
    await t.redis.flushall();
    await rebuild(t.queue, 0);
    await t.queue.pushLimits([limits("acme", { maxQueuedRuns: 2 })]);
    for (const number of [1, 2, 2]) expect(await ask(number)).toEqual({ ok: false, reason: "rebuilding" });
    expect(await t.queue.stats(0)).toMatchObject({ reserved: 2 });
    await openIndex(t.queue, 0, START_MS);
    expect(await ask(3)).toEqual({ ok: false, reason: "queued", limit: 2 });
    await t.queue.finish([{ run: runOf(1), tenant: tenant("acme") }], "");
    expect(await ask(3)).toEqual({ ok: true });
  });
});
