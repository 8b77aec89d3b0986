import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { job, LEASE_MS, limits, runOf, tenant, TestQueue } from "./fixture.ts";
import { rebuildShard } from "./rebuild-shard.ts";

let t: TestQueue;
beforeAll(async () => {
  t = await TestQueue.start();
});
afterAll(() => t.stop());
beforeEach(async () => {
  await t.begin(limits("acme"), limits("single", { maxConcurrentRuns: 1 }));
  await t.queue.enqueue([job(1, "acme")]);
});

const ended = (number: number, tenantName = "acme") => [{ run: runOf(number), tenant: tenant(tenantName) }];

describe("renew", () => {
  test("prolongs a lease by its full time", async () => {
    await t.claim("w1", 1);
    t.clock.nowMs += LEASE_MS - 1;
    expect(await t.queue.renew({ shard: 0, owner: "w1", leaseMs: LEASE_MS, runs: [runOf(1)] })).toEqual({
      lostLeases: [],
      unknownLeases: [],
    });
    t.clock.nowMs += LEASE_MS - 1;
    expect(await t.claim("w2", 1)).toEqual([]);
    t.clock.nowMs += 1;
    expect(await t.claim("w2", 1)).toEqual([1]);
  });

  test("reports runs leased to another worker and runs without a lease, and changes neither", async () => {
    await t.claim("w1", 1);
    t.clock.nowMs += LEASE_MS;
    expect(await t.claim("w2", 1)).toEqual([1]);
    await t.queue.enqueue([job(2, "acme")]);
    const renewal = await t.queue.renew({
      shard: 0,
      owner: "w1",
      leaseMs: LEASE_MS,
      runs: [runOf(1), runOf(2), runOf(3)],
    });
    expect(renewal).toEqual({ lostLeases: [runOf(1)], unknownLeases: [runOf(2), runOf(3)] });
    expect(await t.queue.renew({ shard: 0, owner: "w2", leaseMs: LEASE_MS, runs: [runOf(1)] })).toEqual({
      lostLeases: [],
      unknownLeases: [],
    });
  });

  test("revives a lapsed lease that no worker has claimed", async () => {
    await t.claim("w1", 1);
    t.clock.nowMs += 10 * LEASE_MS;
    expect(await t.queue.renew({ shard: 0, owner: "w1", leaseMs: LEASE_MS, runs: [runOf(1)] })).toEqual({
      lostLeases: [],
      unknownLeases: [],
    });
    expect(await t.claim("w2", 1)).toEqual([]);
  });
});

describe("restoreLeases", () => {
  test("gives the lease to the owner when no worker has it, and counts it", async () => {
    await t.queue.restoreLeases({
      jobs: [job(1, "acme"), job(2, "acme")],
      owner: "w2",
      leaseMs: 5000,
      holder: "w1",
    });
    expect(
      await t.queue.renew({ shard: 0, owner: "w2", leaseMs: LEASE_MS, runs: [runOf(1), runOf(2)] }),
    ).toEqual({ lostLeases: [], unknownLeases: [] });
    expect(await t.queue.tenantStats(tenant("acme"))).toEqual({ active: 2, queuedOrReserved: 0 });
    expect(await t.claim("w1", 5)).toEqual([]);
  });

  test("passes the holder's lease on to the owner for the requested time", async () => {
    await t.claim("w1", 1);
    await t.queue.restoreLeases({ jobs: [job(1, "acme")], owner: "w2", leaseMs: 5000, holder: "w1" });
    expect(await t.queue.renew({ shard: 0, owner: "w1", leaseMs: LEASE_MS, runs: [runOf(1)] })).toMatchObject(
      { lostLeases: [runOf(1)] },
    );
    t.clock.nowMs += 5000;
    expect(await t.claim("w3", 1)).toEqual([1]);
  });

  test("takes nothing from a third worker", async () => {
    await t.claim("w3", 1);
    await t.queue.restoreLeases({ jobs: [job(1, "acme")], owner: "w2", leaseMs: 5000, holder: "w1" });
    expect(await t.queue.renew({ shard: 0, owner: "w3", leaseMs: LEASE_MS, runs: [runOf(1)] })).toEqual({
      lostLeases: [],
      unknownLeases: [],
    });
  });

  test("may exceed a tenant's limit, as Postgres says that the runs are running, and blocks the next claim", async () => {
    await t.queue.enqueue([job(3, "single")]);
    await t.queue.restoreLeases({
      jobs: [job(4, "single"), job(5, "single")],
      owner: "w1",
      leaseMs: LEASE_MS,
    });
    expect(await t.queue.tenantStats(tenant("single"))).toEqual({ active: 2, queuedOrReserved: 1 });
    await t.queue.finish(ended(4, "single"), "w1");
    expect(await t.claim("w1", 5)).toEqual([1]);
    await t.queue.finish(ended(5, "single"), "w1");
    expect(await t.claim("w1", 5)).toEqual([3]);
  });

  test("acts on a cold shard, so that running runs are counted before claims are open", async () => {
    await t.redis.flushall();
    await rebuildShard(t.queue, 0, async (epoch) => {
      await t.queue.restoreLeases({ jobs: [job(6, "single")], owner: "w1", leaseMs: LEASE_MS, epoch });
      await t.queue.pushLimits([limits("single", { maxConcurrentRuns: 1 })]);
    });
    await t.queue.enqueue([job(7, "single")]);
    expect(await t.claim("w2", 5)).toEqual([]);
    await t.queue.finish(ended(6, "single"), "w1");
    expect(await t.claim("w2", 5)).toEqual([7]);
  });

  test("for the same holder keeps the time of an enqueue that came during the lease", async () => {
    await t.claim("w1", 1);
    await t.queue.enqueue([job(1, "acme")]);
    await t.queue.restoreLeases({ jobs: [job(1, "acme")], owner: "w1", leaseMs: LEASE_MS });
    await t.queue.release([job(1, "acme", { status: "paused", delayMs: 60_000 })], "w1");
    expect(await t.claim("w2", 1)).toEqual([1]);
  });
});

describe("release", () => {
  test("makes the job ready again at its old place, or lets it wait", async () => {
    await t.claim("w1", 1);
    await t.queue.enqueue([job(2, "acme"), job(3, "acme")]);
    expect(await t.claim("w2", 1)).toEqual([2]);
    await t.queue.release([job(1, "acme", { score: 9_000_000_000_000 })], "w1");
    await t.queue.release([job(2, "acme", { status: "paused", delayMs: 3000 })], "w2");
    expect(await t.queue.stats(0)).toMatchObject({ ready: 2, timer: 1, leased: 0 });
    expect(await t.claim("w3", 5)).toEqual([1, 3]);
    t.clock.nowMs += 3000;
    expect(await t.claim("w3", 5)).toEqual([2]);
  });

  test("takes nothing from another worker, and schedules a job that was unknown", async () => {
    await t.claim("w1", 1);
    await t.queue.release([job(1, "acme"), job(2, "acme", { delayMs: 1000 })], "w2");
    expect(await t.queue.stats(0)).toMatchObject({ leased: 1, ready: 0, due: 1 });
  });

  test("gives a waiting job the earlier of both times", async () => {
    await t.queue.enqueue([job(2, "acme", { delayMs: 9000 })]);
    await t.queue.release([job(1, "acme", { delayMs: 5000 }), job(2, "acme", { delayMs: 5000 })], "w1");
    expect(await t.claim("w2", 5)).toEqual([1]);
    t.clock.nowMs += 5000;
    expect(await t.claim("w2", 5)).toEqual([2]);
  });
});

describe("finish", () => {
  test("removes the jobs that its worker holds", async () => {
    await t.claim("w1", 1);
    await t.queue.finish(ended(1), "w1");
    await t.queue.finish(ended(1), "w1");
    expect(await t.queue.stats(0)).toMatchObject({ ready: 0, leased: 0 });
    t.clock.nowMs += LEASE_MS;
    expect(await t.claim("w2", 1)).toEqual([]);
  });

  test("that comes late takes nothing from the worker that holds the job now", async () => {
    await t.claim("w1", 1);
    t.clock.nowMs += LEASE_MS;
    await t.claim("w2", 1);
    await t.queue.finish(ended(1), "w1");
    await t.queue.finish(ended(1), "");
    expect(await t.queue.renew({ shard: 0, owner: "w2", leaseMs: LEASE_MS, runs: [runOf(1)] })).toEqual({
      lostLeases: [],
      unknownLeases: [],
    });
  });

  test("that comes late does not remove a job that a client's retry has enqueued again", async () => {
    await t.claim("w1", 1);
    await t.queue.finish(ended(1), "w1");
    await t.queue.enqueue([job(1, "acme")]);
    await t.queue.finish(ended(1), "w1");
    expect(await t.claim("w2", 1)).toEqual([1]);
  });

  test("by the edge removes jobs that no worker holds, whatever they wait for", async () => {
    await t.queue.enqueue([
      job(2, "acme", { delayMs: 10 }),
      job(3, "acme", { delayMs: 10, status: "paused" }),
    ]);
    await t.queue.finish([...ended(1), ...ended(2), ...ended(3)], "");
    expect(await t.queue.stats(0)).toMatchObject({ ready: 0, due: 0, timer: 0 });
  });
});
