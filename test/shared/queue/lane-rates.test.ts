import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { LaneRule } from "../../../shared/queue/claim.ts";
import type { Lane } from "../../../shared/contracts/run.ts";
import { claimArgs } from "../../../shared/queue/claim.ts";
import { ALL_LANES, job, LEASE_MS, limits, numberOf, runOf, START_MS, tenant, TestQueue } from "./fixture.ts";

let t: TestQueue;
beforeAll(async () => {
  t = await TestQueue.start();
});
afterAll(() => t.stop());
beforeEach(() => t.begin(limits("acme"), limits("other")));

const TEN_PER_SECOND = { bulk: { weight: 1, starts_per_second: 10 } };

/** Jobs of the lane `bulk`, numbered from 0. */
async function enqueueBulk(count: number): Promise<void> {
  for (let from = 0; from < count; from += 500) {
    const size = Math.min(500, count - from);
    await t.queue.enqueue(Array.from({ length: size }, (_, n) => job(from + n, "acme", { lane: "bulk" })));
  }
}

async function claim(
  owner: string,
  rules: Partial<Record<Lane, LaneRule>> = TEN_PER_SECOND,
  slots = 100,
  lanes = ALL_LANES,
) {
  const { runs, ...rest } = await t.queue.claim({
    shard: 0,
    owner,
    leaseMs: LEASE_MS,
    slots,
    lanes,
    rules,
    ended: [],
  });
  return { runs: runs.map(({ run }) => numberOf(run)), ...rest };
}

describe("the start rate of a lane", () => {
  test("is never passed by two workers together, in any window, and is used up", async () => {
    await enqueueBulk(400);
    const starts: number[] = [];
    // The two claim at odd times, as often as they like, until just before the first lease lapses.
    for (let step = 0; t.clock.nowMs < START_MS + LEASE_MS; step += 1) {
      const { runs } = await claim(step % 2 === 0 ? "w1" : "w2");
      starts.push(...runs.map(() => t.clock.nowMs - START_MS));
      t.clock.nowMs += 7 + ((step * 37) % 90);
    }
    for (const [i, from] of starts.entries()) {
      for (const [k, to] of starts.slice(i).entries())
        expect(k + 1, `starts from ${from} to ${to} ms`).toBeLessThanOrEqual(
          ((to - from) * 10) / 1_000 + 2.5,
        );
    }
    expect(starts.length).toBeGreaterThanOrEqual(148);
  });

  test("holds when Redis is emptied: the next start comes after the interval of one start", async () => {
    await enqueueBulk(20);
    await claim("w1");
    t.clock.nowMs += 1_000;
    expect((await claim("w1")).runs).toHaveLength(2);
    t.clock.nowMs += 1_000;
    const { nowMs } = t.clock;
    await t.begin(limits("acme"));
    t.clock.nowMs = nowMs;
    await enqueueBulk(20);
    expect(await claim("w1")).toMatchObject({ runs: [], nextMs: 100 });
    t.clock.nowMs += 100;
    expect((await claim("w1")).runs).toHaveLength(1);
  });

  test("survives a rebuild of the shard", async () => {
    await enqueueBulk(20);
    await claim("w1");
    t.clock.nowMs += 250;
    expect((await claim("w1")).runs).toHaveLength(2);
    await t.redis.del(t.key("index"));
    await t.queue.reset(0);
    expect(await t.redis.hget(t.key("lane_starts"), "bulk")).toMatch(/^500000000 /);
  });

  // Fails when a time of the future keeps the bucket from being filled.
  test("holds from the new time on when the clock is set back", async () => {
    await enqueueBulk(20);
    t.clock.nowMs += 3_600_000;
    expect((await claim("w1")).runs).toEqual([]);
    t.clock.nowMs -= 3_600_000;
    expect(await claim("w1")).toMatchObject({ runs: [], nextMs: 100 });
    t.clock.nowMs += 100;
    expect((await claim("w1")).runs).toHaveLength(1);
  });

  test("takes no start for a lapsed lease: a run whose worker was killed has started already", async () => {
    await enqueueBulk(2);
    await claim("killed");
    t.clock.nowMs += 250;
    expect((await claim("killed")).runs).toEqual([0, 1]);
    t.clock.nowMs += LEASE_MS;
    await claim("w2", { bulk: { weight: 1, starts_per_second: 0.01 } });
    expect(await t.queue.tenantStats(tenant("acme"))).toEqual({ active: 2, queuedOrReserved: 0 });
    const renewal = { shard: 0, owner: "w2", leaseMs: LEASE_MS, runs: [runOf(0), runOf(1)] };
    expect(await t.queue.renew(renewal)).toEqual({ lostLeases: [], unknownLeases: [] });
  });

  test("of one lane does not delay the runs of another", async () => {
    await enqueueBulk(10);
    await t.queue.enqueue([job(900, "other"), job(901, "acme", { lane: "interactive" })]);
    expect(new Set((await claim("w1")).runs)).toEqual(new Set([900, 901]));
  });

  test("that changes acts at the next claim, in both directions", async () => {
    await enqueueBulk(400);
    await claim("w1");
    t.clock.nowMs += 1_000;
    expect((await claim("w1", { bulk: { weight: 1, starts_per_second: 100 } })).runs).toHaveLength(25);
    t.clock.nowMs += 10_000;
    expect((await claim("w1", { bulk: { weight: 1, starts_per_second: 1 } })).runs).toHaveLength(1);
    expect((await claim("w1", { bulk: { weight: 1, starts_per_second: null } })).runs).toHaveLength(100);
  });

  test("makes one worker claim again for the next start, and another one when the first did not come", async () => {
    await enqueueBulk(10);
    expect(await claim("first")).toMatchObject({ runs: [], nextMs: 100 });
    expect((await claim("second")).nextMs).toBe(60_000);
    t.clock.nowMs += 101;
    expect(await claim("second")).toMatchObject({ runs: [0], nextMs: 99 });
    await t.redis.del(t.key("wake:bulk"));
    // A worker without room pushes a marker for one that has room, unless a worker is already to claim for the next start.
    t.clock.nowMs += 99;
    await claim("third", TEN_PER_SECOND, 1);
    t.clock.nowMs += 1;
    await claim("full", TEN_PER_SECOND, 100, { default: 10 });
    expect(await t.redis.llen(t.key("wake:bulk"))).toBe(1);
  });

  test("is divided among the shards of the queue, so that all of them together do not pass it", () => {
    const request = { shard: 0, owner: "w", leaseMs: 1, slots: 1, lanes: { bulk: 1 }, ended: [] };
    const rules = { bulk: { weight: 1, starts_per_second: 10 } };
    expect(claimArgs({ ...request, rules }, 1).slice(-2)).toEqual(["10000000", "2500000000"]);
    expect(claimArgs({ ...request, rules }, 16).slice(-2)).toEqual(["625000", "1000000000"]);
  });
});

test("a lane's weight decides its part of the claims, whatever the default is", async () => {
  const many = Array.from({ length: 200 }, (_, n) => n);
  await t.queue.enqueue(many.map((n) => job(n, "acme")));
  await t.queue.enqueue(many.map((n) => job(500 + n, "acme", { lane: "bulk" })));
  const rules = {
    default: { weight: 1, starts_per_second: null },
    bulk: { weight: 3, starts_per_second: null },
  };
  const { runs } = await claim("w1", rules, 100);
  expect(runs.filter((n) => n >= 500)).toHaveLength(75);
});
