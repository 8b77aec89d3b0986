import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { QueueVerdict } from "../../../shared/queue/verdict.ts";
import { job, limits, runOf, START_MS, tenant, TestQueue } from "./fixture.ts";
import { makeQuotaReady, rebuildShard } from "./rebuild-shard.ts";

let t: TestQueue;
beforeAll(async () => {
  t = await TestQueue.start();
});
afterAll(() => t.stop());

const admit = async (
  number: number,
  tenantName = "acme",
  maxDepth = 1000,
): Promise<QueueVerdict | undefined> =>
  (await t.queue.admit([{ run: runOf(number), tenant: tenant(tenantName) }], maxDepth))[0];

describe("admit", () => {
  beforeEach(() => t.begin(limits("acme", { maxQueuedRuns: 3, requestsPerSecond: 2 }), limits("other")));

  test("reserves a place, which counts against the tenant's quota", async () => {
    expect(await admit(1)).toMatchObject({ ok: true });
    expect(await t.queue.stats(0)).toMatchObject({ reserved: 1, ready: 0 });
    expect(await t.queue.tenantStats(tenant("acme"))).toEqual({ active: 0, queuedOrReserved: 1 });
  });

  test("admits a repeated request again and takes no second place or token", async () => {
    for (let i = 0; i < 5; i++) expect(await admit(1)).toMatchObject({ ok: true });
    expect(await t.queue.tenantStats(tenant("acme"))).toEqual({ active: 0, queuedOrReserved: 1 });
    expect(await admit(2)).toMatchObject({ ok: true });
  });

  test("replies with the exact time until the next token", async () => {
    expect(await admit(1)).toMatchObject({ ok: true });
    expect(await admit(2)).toMatchObject({ ok: true });
    expect(await admit(3)).toEqual({ ok: false, reason: "rate", limit: 2, retryMs: 500 });
    t.clock.nowMs += 499;
    expect(await admit(3)).toEqual({ ok: false, reason: "rate", limit: 2, retryMs: 1 });
    t.clock.nowMs += 1;
    expect(await admit(3)).toMatchObject({ ok: true });
  });

  test("saves at most one second's tokens over a long pause", async () => {
    t.clock.nowMs += 3_600_000;
    expect(await admit(1)).toMatchObject({ ok: true });
    expect(await admit(2)).toMatchObject({ ok: true });
    expect(await admit(3)).toMatchObject({ reason: "rate" });
  });

  test("refuses a run beyond max_queued_runs, whatever the queues of other tenants are", async () => {
    await t.queue.enqueue([job(1, "acme"), job(2, "acme", { delayMs: 5000 }), job(9, "other")]);
    expect(await admit(3)).toMatchObject({ ok: true });
    expect(await admit(4)).toEqual({ ok: false, reason: "queued", limit: 3 });
    expect(await admit(5, "other")).toMatchObject({ ok: true });
  });

  test("does not count the tenant's paused and leased runs", async () => {
    await t.queue.enqueue([
      job(1, "acme"),
      job(2, "acme", { status: "paused", delayMs: 5000 }),
      job(3, "acme"),
    ]);
    await t.claim("w1", 2);
    t.clock.nowMs += 10_000 - 5001;
    for (const number of [4, 5]) expect(await admit(number)).toMatchObject({ ok: true });
  });

  test("refuses a run when the shard has its depth, and takes no token", async () => {
    expect(await admit(1, "other", 1)).toMatchObject({ ok: true });
    for (let i = 0; i < 3; i++) expect(await admit(2, "acme", 1)).toEqual({ ok: false, reason: "depth" });
    expect(await admit(2)).toMatchObject({ ok: true });
    expect(await admit(3)).toMatchObject({ ok: true });
  });

  test("refuses a run of a tenant that is disabled, has no rate, or has no limits in this Redis", async () => {
    await t.queue.pushLimits([
      limits("off", { maxConcurrentRuns: 0 }),
      limits("mute", { requestsPerSecond: 0 }),
    ]);
    expect(await admit(1, "off")).toEqual({ ok: false, reason: "disabled" });
    expect(await admit(1, "mute")).toEqual({ ok: false, reason: "rate", limit: 0, retryMs: 60_000 });
    expect(await admit(1, "stranger")).toEqual({ ok: false, reason: "unknown" });
  });

  test("gives each run of a batch its own verdict", async () => {
    const requests = [1, 2, 3].map((number) => ({ run: runOf(number), tenant: tenant("acme") }));
    const verdicts = await t.queue.admit([...requests, { run: runOf(4), tenant: tenant("stranger") }], 10);
    expect(verdicts).toMatchObject([
      { ok: true },
      { ok: true },
      { ok: false, reason: "rate", limit: 2, retryMs: 500 },
      { ok: false, reason: "unknown" },
    ]);
  });

  test("gives a place back after 30 s, unless the run has been enqueued", async () => {
    await admit(1);
    await admit(2);
    await t.queue.enqueue([job(2, "acme")]);
    t.clock.nowMs += 29_999;
    await admit(1);
    expect(await t.queue.tenantStats(tenant("acme"))).toEqual({ active: 0, queuedOrReserved: 2 });
    t.clock.nowMs += 1;
    await t.claim("w1", 0);
    expect(await t.queue.tenantStats(tenant("acme"))).toEqual({ active: 0, queuedOrReserved: 1 });
    expect(await t.claim("w1", 9)).toEqual([2]);
  });

  test("does not count the reservations that lapsed before the call against the depth", async () => {
    expect(await admit(1, "other", 1)).toMatchObject({ ok: true });
    t.clock.nowMs += 30_000;
    expect(await admit(2, "acme", 1)).toMatchObject({ ok: true });
  });

  test("gives a place back at once when the edge finishes the run", async () => {
    await admit(1);
    await t.queue.finish([{ run: runOf(1), tenant: tenant("acme") }], "");
    expect(await t.queue.stats(0)).toMatchObject({ reserved: 0 });
  });
});

describe("while the index is not quota ready, admit", () => {
  test("replies cold on a cold shard, which cannot count", async () => {
    await t.redis.flushall();
    expect(await admit(1)).toEqual({ ok: false, reason: "cold" });
    await t.queue.pushLimits([limits("acme")]);
    expect(await admit(1)).toEqual({ ok: false, reason: "cold" });
  });

  test("replies rebuilding until the scans after the rebuild are complete, and reserves a place all the same", async () => {
    await t.redis.flushall();
    await rebuildShard(t.queue, 0);
    await t.queue.pushLimits([limits("acme", { maxQueuedRuns: 2 })]);
    for (const number of [1, 2, 2]) expect(await admit(number)).toEqual({ ok: false, reason: "rebuilding" });
    expect(await t.queue.stats(0)).toMatchObject({ reserved: 2 });
    await makeQuotaReady(t.queue, 0, START_MS);
    expect(await admit(3)).toEqual({ ok: false, reason: "queued", limit: 2 });
    await t.queue.finish([{ run: runOf(1), tenant: tenant("acme") }], "");
    expect(await admit(3)).toMatchObject({ ok: true });
  });
});
