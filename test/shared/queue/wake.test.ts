import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { keys } from "../../../shared/keys.ts";
import { job, LEASE_MS, limits, runOf, tenant, TestQueue } from "./fixture.ts";

let t: TestQueue;
beforeAll(async () => {
  t = await TestQueue.start();
});
afterAll(() => t.stop());
beforeEach(() => t.begin(limits("acme"), limits("single", { maxConcurrentRuns: 1 })));

const markers = (lane = "default") => t.redis.llen(keys.wake(0, lane));
const pop = () => t.redis.lpop(keys.wake(0, "default"));

describe("the marker on which idle workers block", () => {
  test("is pushed when a job becomes ready, in its lane, and never twice", async () => {
    await t.queue.enqueue([job(1, "acme"), job(2, "acme"), job(3, "acme", { lane: "bulk" })]);
    expect([await markers(), await markers("bulk"), await markers("mail")]).toEqual([1, 1, 0]);
  });

  test("is not pushed for a waiting job, nor for a tenant without a free slot", async () => {
    await t.queue.enqueue([job(1, "acme", { delayMs: 10 }), job(2, "single")]);
    expect(await pop()).toBe("1");
    await t.claim("w1", 9);
    await t.queue.enqueue([job(3, "single")]);
    expect(await markers()).toBe(0);
  });

  test("is pushed again by a claim that leaves claimable jobs, and only then", async () => {
    await t.queue.enqueue([job(1, "acme"), job(2, "acme")]);
    await pop();
    await t.claim("w1", 1);
    expect(await markers()).toBe(1);
    await pop();
    await t.claim("w1", 1);
    expect(await markers()).toBe(0);
  });

  test("is not pushed for the jobs of a tenant whose last slot was just taken", async () => {
    await t.queue.enqueue([job(1, "single"), job(2, "single")]);
    await pop();
    await t.claim("w1", 9);
    expect(await markers()).toBe(0);
  });

  test("is pushed when a slot becomes free for a job that was ready before", async () => {
    await t.queue.enqueue([job(1, "single"), job(2, "single")]);
    await pop();
    await t.claim("w1", 9);
    await pop();
    await t.queue.finish([{ run: runOf(1), tenant: tenant("single") }], "w1");
    expect(await markers()).toBe(1);
  });

  test("is pushed when due jobs become ready and not all are claimed", async () => {
    await t.queue.enqueue([job(1, "acme", { delayMs: 10 }), job(2, "acme", { delayMs: 10 })]);
    t.clock.nowMs += 10;
    await t.queue.claim({
      shard: 0,
      owner: "w1",
      leaseMs: LEASE_MS,
      slots: 1,
      lanes: { default: 1 },
      ended: [],
    });
    expect(await markers()).toBe(1);
  });
});

test("a script that Redis does not know is sent once and then called by its digest", async () => {
  await t.redis.script("FLUSH");
  await t.begin(limits("acme"));
  await t.redis.config("RESETSTAT");
  for (let i = 0; i < 3; i++) await t.queue.stats(0);
  const stats = await t.redis.info("commandstats");
  expect(stats).toMatch(/cmdstat_eval:calls=1,/);
  expect(stats).toMatch(/cmdstat_evalsha:calls=2,/);
});
