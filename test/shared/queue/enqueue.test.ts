import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { job, limits, runOf, START_MS, tenant, TestQueue } from "./fixture.ts";

let t: TestQueue;
beforeAll(async () => {
  t = await TestQueue.start();
});
afterAll(() => t.stop());
beforeEach(() => t.begin(limits("acme")));

describe("an enqueued job", () => {
  test("is ready immediately, and is one job however often the call is repeated", async () => {
    for (let i = 0; i < 3; i++) await t.queue.enqueue([job(1, "acme")]);
    expect(await t.queue.stats(0)).toMatchObject({ ready: 1, lanes: { default: { ready: 1 } } });
    expect(await t.claim("w1", 10)).toEqual([1]);
    expect(await t.claim("w2", 10)).toEqual([]);
  });

  test("waits for its time, and its status decides whether it counts as queued", async () => {
    await t.queue.enqueue([
      job(1, "acme", { delayMs: 5000 }),
      job(2, "acme", { status: "paused", delayMs: 5000 }),
    ]);
    expect(await t.queue.stats(0)).toMatchObject({ ready: 0, due: 1, timer: 1 });
    expect(await t.queue.tenantStats(tenant("acme"))).toEqual({ active: 0, queuedOrReserved: 1 });
    t.clock.nowMs += 4999;
    expect(await t.claim("w1", 10)).toEqual([]);
    t.clock.nowMs += 1;
    expect(await t.claim("w1", 10)).toEqual([1, 2]);
  });

  test("gets the earlier of both times when it waits already", async () => {
    await t.queue.enqueue([
      job(1, "acme", { delayMs: 5000 }),
      job(2, "acme", { delayMs: 5000, status: "paused" }),
    ]);
    await t.queue.enqueue([job(1, "acme", { delayMs: 9000 }), job(2, "acme", { delayMs: 9000 })]);
    t.clock.nowMs += 1000;
    await t.queue.enqueue([job(1, "acme", { delayMs: 1000 })]);
    t.clock.nowMs += 1000;
    expect(await t.claim("w1", 10)).toEqual([1]);
    t.clock.nowMs += 3000;
    expect(await t.claim("w1", 10)).toEqual([2]);
  });

  test("becomes ready when it is woken before its time", async () => {
    await t.queue.enqueue([job(1, "acme", { delayMs: 60_000, status: "paused" })]);
    await t.queue.enqueue([job(1, "acme")]);
    expect(await t.claim("w1", 10)).toEqual([1]);
  });

  test("takes the place that was reserved for it, in its own lane", async () => {
    await t.queue.admit([{ run: runOf(1), tenant: tenant("acme") }], 10);
    await t.queue.enqueue([job(1, "acme", { lane: "bulk" })]);
    expect(await t.queue.stats(0)).toMatchObject({ reserved: 0, ready: 1, lanes: { bulk: { ready: 1 } } });
    expect(await t.queue.tenantStats(tenant("acme"))).toEqual({ active: 0, queuedOrReserved: 1 });
  });

  test("that is leased comes back when the lease ends, however it ends", async () => {
    await t.queue.enqueue([job(1, "acme"), job(2, "acme"), job(3, "acme")]);
    expect(await t.claim("w1", 10)).toEqual([1, 2, 3]);
    await t.queue.enqueue([job(1, "acme"), job(2, "acme"), job(3, "acme", { delayMs: 2000 })]);
    await t.queue.enqueue([job(2, "acme", { delayMs: 9000 })]);
    expect(await t.claim("w2", 10)).toEqual([]);
    await t.queue.release([job(1, "acme", { status: "paused", delayMs: 60_000 })], "w1");
    await t.queue.finish([job(2, "acme"), job(3, "acme")], "w1");
    expect(await t.claim("w2", 10)).toEqual([1, 2]);
    t.clock.nowMs += 2000;
    expect(await t.claim("w2", 10)).toEqual([3]);
  });

  test("is claimed before its tenant's jobs that were queued later", async () => {
    const early = job(3, "acme", { score: START_MS - 600_000 });
    await t.queue.enqueue([job(2, "acme"), job(1, "acme"), early, job(4, "acme", { score: 5 })]);
    expect(await t.claim("w1", 10)).toEqual([4, 3, 1, 2]);
  });
});
