import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { job, limits, runOf, tenant, TestQueue } from "./fixture.ts";

let t: TestQueue;
beforeAll(async () => {
  t = await TestQueue.start();
});
afterAll(() => t.stop());
beforeEach(() => t.begin(limits("acme", { version: 5, maxConcurrentRuns: 2 })));

const enqueueFive = () => t.queue.enqueue([1, 2, 3, 4, 5].map((number) => job(number, "acme")));
const setConcurrent = (version: number, maxConcurrentRuns: number) =>
  t.queue.pushLimits([limits("acme", { version, maxConcurrentRuns })]);
const finish = (number: number) => t.queue.finish([{ run: runOf(number), tenant: tenant("acme") }], "w1");

describe("new limits", () => {
  test("that are higher make jobs claimable at once and wake a worker", async () => {
    await enqueueFive();
    expect(await t.claim("w1", 9)).toEqual([1, 2]);
    await t.redis.del(t.key("wake:default"));
    await setConcurrent(6, 4);
    expect(await t.redis.llen(t.key("wake:default"))).toBe(1);
    expect(await t.claim("w1", 9)).toEqual([3, 4]);
  });

  test("that are lower stop no running run, and no job is claimed until enough runs have ended", async () => {
    await enqueueFive();
    await t.claim("w1", 9);
    await setConcurrent(6, 1);
    expect(await t.queue.renew({ shard: 0, owner: "w1", leaseMs: 1000, runs: [runOf(1), runOf(2)] })).toEqual(
      { lostLeases: [], unknownLeases: [] },
    );
    await finish(1);
    expect(await t.claim("w1", 9)).toEqual([]);
    await finish(2);
    expect(await t.claim("w1", 9)).toEqual([3]);
  });

  test("of zero disable the tenant, and higher ones enable it again", async () => {
    await enqueueFive();
    await setConcurrent(6, 0);
    expect(await t.claim("w1", 9)).toEqual([]);
    await setConcurrent(7, 1);
    expect(await t.claim("w1", 9)).toEqual([1]);
  });

  test("with a lower version are ignored, and with the same version they apply", async () => {
    await enqueueFive();
    expect(await setConcurrent(4, 5)).toEqual([{ tenant: "acme", version: 5 }]);
    expect(await t.claim("w1", 9)).toEqual([1, 2]);
    expect(await setConcurrent(5, 3)).toEqual([]);
    expect(await t.claim("w1", 9)).toEqual([3]);
  });

  test("of max_queued_runs apply to the next admission", async () => {
    await enqueueFive();
    await t.queue.pushLimits([limits("acme", { version: 6, maxQueuedRuns: 6 })]);
    const admit = (number: number) => t.queue.admit([{ run: runOf(number), tenant: tenant("acme") }], 100);
    expect(await admit(6)).toMatchObject([{ ok: true }]);
    expect(await admit(7)).toEqual([{ ok: false, reason: "queued", limit: 6 }]);
  });

  test("are needed before any job of a tenant is claimed", async () => {
    await t.queue.enqueue([job(1, "stranger")]);
    expect(await t.claim("w1", 9)).toEqual([]);
    await t.queue.pushLimits([limits("stranger")]);
    expect(await t.claim("w1", 9)).toEqual([1]);
  });
});
