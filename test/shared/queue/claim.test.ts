import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { scoreOf } from "../../../shared/queue/job.ts";
import { ALL_LANES, job, LEASE_MS, limits, runOf, START_MS, tenant, TestQueue } from "./fixture.ts";

let t: TestQueue;
beforeAll(async () => {
  t = await TestQueue.start();
});
afterAll(() => t.stop());

describe("a claim", () => {
  beforeEach(() => t.begin(limits("acme"), limits("small", { maxConcurrentRuns: 2 })));

  test("takes as many jobs as the worker has slots, and no job twice", async () => {
    await t.queue.enqueue([1, 2, 3, 4, 5].map((number) => job(number, "acme")));
    expect(await t.claim("w1", 0)).toEqual([]);
    expect(await t.claim("w1", 3)).toEqual([1, 2, 3]);
    expect(await t.claim("w2", 3)).toEqual([4, 5]);
    expect(await t.queue.tenantStats(tenant("acme"))).toEqual({ active: 5, queuedOrReserved: 0 });
  });

  test("takes from a lane no more than its cap, and nothing from a lane that is not named", async () => {
    const lanes = ["bulk", "mail", "webhooks"] as const;
    await t.queue.enqueue(
      lanes.flatMap((lane, i) => [0, 1, 2, 3].map((n) => job(10 * i + n, "acme", { lane }))),
    );
    expect(await t.claim("w1", 10, { bulk: 1, mail: 2 })).toHaveLength(3);
    expect((await t.queue.stats(0)).lanes).toMatchObject({
      bulk: { ready: 3 },
      mail: { ready: 2 },
      webhooks: { ready: 4 },
    });
  });

  test("takes from the lanes in proportion to their weights", async () => {
    const many = Array.from({ length: 100 }, (_, number) => number);
    await t.queue.enqueue(many.map((number) => job(number, "acme", { lane: "interactive" })));
    await t.queue.enqueue(many.map((number) => job(100 + number, "acme", { lane: "default" })));
    await t.queue.enqueue(many.map((number) => job(200 + number, "acme", { lane: "bulk" })));
    const taken = await t.claim("w1", 13 * 5);
    const countsByLane = [0, 1, 2].map(
      (lane) => taken.filter((number) => Math.floor(number / 100) === lane).length,
    );
    expect(countsByLane).toEqual([40, 20, 5]);
  });

  test("takes no job of a tenant beyond max_concurrent_runs, and the next one as soon as a slot is free", async () => {
    await t.queue.enqueue([1, 2, 3, 4].map((number) => job(number, "small")));
    expect(await t.claim("w1", 10)).toEqual([1, 2]);
    expect(await t.claim("w2", 10)).toEqual([]);
    await t.queue.finish([{ run: runOf(1), tenant: tenant("small") }], "w1");
    expect(await t.claim("w2", 10)).toEqual([3]);
    await t.queue.release([job(2, "small", { status: "paused", delayMs: 5000 })], "w1");
    expect(await t.claim("w2", 10)).toEqual([4]);
  });

  test("counts a tenant's leases in all lanes together", async () => {
    await t.queue.enqueue([
      job(1, "small", { lane: "bulk" }),
      job(2, "small", { lane: "mail" }),
      job(3, "small"),
    ]);
    expect(await t.claim("w1", 10)).toHaveLength(2);
  });

  test("finishes the worker's ended runs first and uses the slots that this frees", async () => {
    await t.queue.enqueue([1, 2, 3].map((number) => job(number, "small")));
    expect(await t.claim("w1", 10)).toEqual([1, 2]);
    const { runs } = await t.queue.claim({
      shard: 0,
      owner: "w1",
      leaseMs: LEASE_MS,
      slots: 10,
      lanes: ALL_LANES,
      ended: [runOf(1), runOf(2)],
    });
    expect(runs).toEqual([{ run: runOf(3), tenant: tenant("small") }]);
    expect(await t.queue.stats(0)).toMatchObject({ ready: 0, leased: 1 });
  });

  test("takes lapsed leases first, although their tenant has no free slot", async () => {
    await t.queue.enqueue([job(1, "small"), job(2, "small"), job(3, "small"), job(4, "acme")]);
    expect(await t.claim("w1", 2, { default: 2 })).toHaveLength(2);
    await t.queue.finish([{ run: runOf(4), tenant: tenant("acme") }], "w1");
    await t.claim("w1", 2);
    await t.queue.enqueue([job(5, "acme"), job(6, "acme")]);
    t.clock.nowMs += LEASE_MS - 1;
    expect(await t.claim("w2", 1)).not.toContain(1);
    t.clock.nowMs += 1;
    expect(new Set(await t.claim("w2", 2))).toEqual(new Set([1, 2]));
    expect(await t.queue.tenantStats(tenant("small"))).toEqual({ active: 2, queuedOrReserved: 1 });
  });

  test("leaves a lapsed lease of a lane that its worker does not serve", async () => {
    await t.queue.enqueue([job(1, "acme", { lane: "mail" })]);
    await t.claim("w1", 1);
    t.clock.nowMs += LEASE_MS;
    expect(await t.claim("w2", 5, { default: 5 })).toEqual([]);
    expect(await t.claim("w3", 5, { mail: 5 })).toEqual([1]);
  });

  test("finds a lapsed lease behind many lapsed leases of a lane that no worker serves", async () => {
    const many = Array.from({ length: 900 }, (_, number) => number);
    await t.queue.enqueue(many.map((number) => job(number, "acme", { lane: "mail" })));
    await t.claim("w1", 900);
    t.clock.nowMs += 1;
    await t.queue.enqueue([job(1000, "acme")]);
    await t.claim("w1", 1);
    t.clock.nowMs += LEASE_MS;
    expect(await t.claim("w2", 1, { default: 1 })).toEqual([1000]);
  });

  test("makes due jobs and timers ready first, at most 100 of each in one call", async () => {
    const many = Array.from({ length: 150 }, (_, number) => number);
    await t.queue.enqueue(many.map((number) => job(number, "acme", { delayMs: 10 })));
    await t.queue.enqueue(many.map((number) => job(200 + number, "acme", { delayMs: 10, status: "paused" })));
    t.clock.nowMs += 10;
    const { runs, nextMs } = await t.queue.claim({
      shard: 0,
      owner: "w1",
      leaseMs: LEASE_MS,
      slots: 1,
      lanes: ALL_LANES,
      ended: [],
    });
    expect(runs).toHaveLength(1);
    expect(await t.queue.stats(0)).toMatchObject({ ready: 199, due: 50, timer: 50 });
    expect(nextMs).toBe(0);
    expect(await t.claim("w1", 1000)).toHaveLength(299);
  });

  test("takes higher priorities first, and a job that has waited long enough before any priority", async () => {
    const at = START_MS;
    await t.queue.enqueue([
      job(1, "acme", { score: scoreOf(at, 0) }),
      job(2, "acme", { score: scoreOf(at + 1000, 5) }),
      job(3, "acme", { score: scoreOf(at + 2000, 10) }),
      job(4, "acme", { score: scoreOf(at - 600_001 + 2000, 0) }),
    ]);
    expect(await t.claim("w1", 10)).toEqual([4, 3, 2, 1]);
  });

  test("takes more than a thousand jobs in one call", async () => {
    const many = Array.from({ length: 5000 }, (_, number) => number);
    await t.begin(limits("acme", { maxConcurrentRuns: 10_000 }));
    await t.queue.enqueue(many.map((number) => job(number, "acme")));
    expect(await t.claim("w1", 5000, { default: 5000 })).toHaveLength(5000);
  });
});

describe("nextMs", () => {
  beforeEach(() => t.begin(limits("acme")));
  const nextMs = async (lanes = ALL_LANES): Promise<number> =>
    (await t.queue.claim({ shard: 0, owner: "w1", leaseMs: LEASE_MS, slots: 1, lanes, ended: [] })).nextMs;

  test("is a minute when no job is due or lapses earlier", async () => {
    expect(await nextMs()).toBe(60_000);
    await t.queue.enqueue([job(1, "acme", { delayMs: 90_000 })]);
    expect(await nextMs()).toBe(60_000);
  });

  test("is the time until the first due job, timer or lapse", async () => {
    await t.queue.enqueue([job(1, "acme", { delayMs: 9000 })]);
    expect(await nextMs()).toBe(9000);
    await t.queue.enqueue([job(2, "acme", { delayMs: 4000, status: "paused" })]);
    expect(await nextMs()).toBe(4000);
    t.clock.nowMs += 4000;
    expect(await nextMs()).toBe(5000);
    t.clock.nowMs += 5000;
    expect(await nextMs()).toBe(LEASE_MS - 5000);
  });

  test("is not 0 for a worker that may not take a lapsed lease: it would claim again without a pause", async () => {
    await t.queue.enqueue([job(1, "acme", { lane: "mail" })]);
    await t.claim("w1", 1);
    t.clock.nowMs += LEASE_MS;
    expect(await nextMs({ default: 1 })).toBe(60_000);
  });
});
