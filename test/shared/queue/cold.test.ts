import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Lane } from "../../../shared/contracts/run.ts";
import { Queue } from "../../../shared/queue/queue.ts";
import { ColdError } from "../../../shared/queue/scripts.ts";
import { ALL_LANES, job, LEASE_MS, limits, runOf, tenant, TestQueue } from "./fixture.ts";
import { QUOTA_READY_AFTER_MS } from "../../../shared/timing.ts";
import { makeQuotaReady, rebuildShard } from "./rebuild-shard.ts";
import { timed } from "./timed.ts";

/** As in common.lua: `claim` and `admit` compare the sizes of the keys once in this time. */
const CHECK_EVERY_MS = 100;

let t: TestQueue;
beforeAll(async () => {
  t = await TestQueue.start();
});
afterAll(() => t.stop());

/** All verbs that throw ColdError on a cold shard. */
const verbs: Record<string, (queue: Queue) => Promise<unknown>> = {
  enqueue: (queue) => queue.enqueue([job(90, "acme")]),
  claim: (queue) =>
    queue.claim({ shard: 0, owner: "w1", leaseMs: LEASE_MS, slots: 1, lanes: ALL_LANES, ended: [] }),
  renew: (queue) => queue.renew({ shard: 0, owner: "w1", leaseMs: LEASE_MS, runs: [runOf(1)] }),
  release: (queue) => queue.release([job(1, "acme")], "w1"),
  finish: (queue) => queue.finish([job(1, "acme")], "w1"),
  restoreLeases: (queue) => queue.restoreLeases({ jobs: [job(1, "acme")], owner: "w1", leaseMs: LEASE_MS }),
  stats: (queue) => queue.stats(0),
  invalidateCounts: (queue) => queue.invalidateCounts(0),
  readIndex: (queue) => queue.readIndex(0),
  advanceScan: (queue) => queue.advanceScan(0, { epoch: "", scanned: "" }, "", 1),
  advanceLimits: (queue) => queue.advanceLimits(0, "", 1),
};

/** Makes one job in every state and lane, so that every key exists. */
async function fill(): Promise<void> {
  await t.begin(limits("acme"));
  await t.queue.enqueue([job(1, "acme")]);
  await t.claim("w1", 1);
  await t.queue.enqueue(Lane.options.map((lane, i) => job(10 + i, "acme", { lane })));
  await t.queue.enqueue([
    job(2, "acme", { delayMs: 99_000 }),
    job(3, "acme", { delayMs: 99_000, status: "paused" }),
  ]);
  await t.queue.admit([{ run: runOf(4), tenant: tenant("acme") }], 100);
}

describe("a shard without an index", () => {
  beforeEach(() => t.begin(limits("acme")));

  test.each(Object.entries(verbs))("refuses %s with ColdError", async (_, verb) => {
    await t.redis.del(t.key("index"));
    await expect(verb(t.queue)).rejects.toThrow(ColdError);
  });

  test("gets an index that begins at minus infinity, and only once", async () => {
    await t.redis.flushall();
    const first = (await t.queue.reset(0)) ?? "";
    await t.queue.beginIndex(0, first);
    const begunIndex = { uptoMs: -Infinity, quotaReady: false, limitsUptoMs: -Infinity };
    const begun = await t.queue.readIndex(0);
    expect(begun).toMatchObject(begunIndex);
    await makeQuotaReady(t.queue, 0, 1_800_000_000_123);
    await t.queue.advanceLimits(0, begun.epoch, 17);
    await t.queue.beginIndex(0, first);
    await t.queue.advanceScan(0, { ...begun, scanned: "second" }, "second", 1_700_000_000_000);
    await t.queue.advanceLimits(0, begun.epoch, 16);
    const { epoch } = begun;
    expect(await t.queue.readIndex(0)).toEqual({
      epoch,
      scanned: "second",
      uptoMs: 1_800_000_000_123,
      quotaReady: true,
      limitsUptoMs: 17,
    });
  });

  // Fails when index.lua does not compare `epoch` or `scanned`.
  test("rejects a scan for another index, and one that does not know the position of the scan under way", async () => {
    await t.redis.flushall();
    await rebuildShard(t.queue, 0);
    const old = await t.queue.readIndex(0);
    await t.redis.flushall();
    t.clock.nowMs += 1;
    await rebuildShard(t.queue, 0);
    const known = await t.queue.readIndex(0);
    expect(known.epoch).not.toBe(old.epoch);
    expect(await t.queue.advanceScan(0, old, "", 50_000)).toBe(false);
    await t.queue.advanceLimits(0, old.epoch, 50_000);
    expect(await t.queue.advanceScan(0, known, "page 1")).toBe(true);
    expect(await t.queue.advanceScan(0, known, "", 50_000)).toBe(false);
    expect(await t.queue.readIndex(0)).toEqual({ ...known, scanned: "page 1" });
    expect(await t.queue.advanceScan(0, { ...known, scanned: "page 1" }, "", 50_000)).toBe(true);
    expect(await t.queue.readIndex(0)).toEqual({ ...known, uptoMs: 50_000 });
  });

  // Fails when QUOTA_READY_AFTER_MS is 0: a run that was accepted without this index may not be committed yet when the
  // first scan is complete.
  test("is quota ready when a scan reaches far enough beyond the first", async () => {
    await t.redis.flushall();
    await rebuildShard(t.queue, 0);
    const known = await t.queue.readIndex(0);
    const quotaReadyAfter = async (uptoMs: number) => {
      await t.queue.advanceScan(0, known, "", uptoMs);
      return (await t.queue.readIndex(0)).quotaReady;
    };
    expect(await quotaReadyAfter(1_000_000)).toBe(false);
    expect(await quotaReadyAfter(1_000_000 + QUOTA_READY_AFTER_MS - 1)).toBe(false);
    expect(await quotaReadyAfter(1_000_000 + QUOTA_READY_AFTER_MS)).toBe(true);
  });

  test("holds nothing after a reset but the epoch of the rebuild", async () => {
    await fill();
    await t.redis.del(t.key("index"));
    const epoch = await t.queue.reset(0);
    expect(await t.redis.keys("*")).toEqual([t.key("index")]);
    expect(await t.redis.hgetall(t.key("index"))).toEqual({ epoch });
  });
});

describe("when two reconcilers rebuild a shard at the same time", () => {
  /** Run 1 uses the tenant's only slot, as Postgres says. */
  const single = limits("acme", { maxConcurrentRuns: 1 });
  const restoreRunning = (epoch: string) =>
    t.queue.restoreLeases({ jobs: [job(1, "acme")], owner: "w1", leaseMs: LEASE_MS, epoch });
  const reset = async (): Promise<string> => {
    t.clock.nowMs += 1;
    return (await t.queue.reset(0)) ?? "known";
  };
  beforeEach(() => t.redis.flushall());

  // Fails when reset.lua does not check whether the shard has an index.
  test("a late reset by one reconciler changes nothing after the other has begun the index", async () => {
    await rebuildShard(t.queue, 0, () => t.queue.pushLimits([single]));
    await t.queue.enqueue([job(2, "acme")]);
    const known = await t.queue.readIndex(0);
    expect(await reset()).toBe("known");
    expect(await t.queue.readIndex(0)).toEqual(known);
    expect(await t.claim("w1", 5)).toEqual([2]);
  });

  // Fails when `begin` does not compare the epoch: run 2 is claimed beside run 1, beyond the tenant's limit.
  test("the superseded reconciler does not open the shard to claims; the latest does, with the running runs leased", async () => {
    const first = await reset();
    await t.queue.pushLimits([single]);
    await restoreRunning(first);
    const second = await reset();
    await expect(t.queue.beginIndex(0, first)).rejects.toThrow(ColdError);
    await expect(t.queue.enqueue([job(2, "acme")])).rejects.toThrow(ColdError);
    await t.queue.pushLimits([single]);
    await restoreRunning(second);
    await t.queue.beginIndex(0, second);
    await t.queue.beginIndex(0, first);
    await t.queue.enqueue([job(2, "acme")]);
    expect(await t.claim("w2", 5)).toEqual([]);
    expect(await t.queue.tenantStats(tenant("acme"))).toEqual({ active: 1, queuedOrReserved: 1 });
  });

  // Fails when restore-leases.lua does not compare the epoch: the run is leased to w1, its former owner, and w2 loses it.
  test.each(["before", "after"])(
    "the superseded reconciler restores no lease %s the latest begins the index",
    async (when) => {
      const first = await reset();
      const second = await reset();
      const begin = () => t.queue.beginIndex(0, second);
      if (when === "after") await begin();
      await expect(restoreRunning(first)).rejects.toThrow(ColdError);
      await t.queue.restoreLeases({ jobs: [job(1, "acme")], owner: "w2", leaseMs: LEASE_MS, epoch: second });
      if (when === "before") await begin();
      expect(await t.queue.renew({ shard: 0, owner: "w2", leaseMs: LEASE_MS, runs: [runOf(1)] })).toEqual({
        lostLeases: [],
        unknownLeases: [],
      });
    },
  );

  // Fails when the caller makes the epoch: a reset that arrives twice deletes the leases restored since the first.
  test("a reset that arrives twice invalidates the epoch of its first reply", async () => {
    const firstEpoch = await reset();
    await restoreRunning(firstEpoch);
    const secondEpoch = await reset();
    expect(secondEpoch).not.toBe(firstEpoch);
    await expect(t.queue.beginIndex(0, firstEpoch)).rejects.toThrow(ColdError);
  });

  // Fails when the epoch is stored anywhere but in Redis, where it is lost with the rest.
  test("a reconciler does not begin the index when Redis was emptied during its rebuild", async () => {
    const epoch = await reset();
    await restoreRunning(epoch);
    await t.redis.flushall();
    await expect(t.queue.beginIndex(0, epoch)).rejects.toThrow(ColdError);
    await expect(t.queue.readIndex(0)).rejects.toThrow(ColdError);
  });
});

describe("a key that was evicted or deleted", () => {
  const provenKeys = [
    "index",
    "jobs",
    "ready",
    "reserved",
    "due",
    "timer",
    "leases",
    "active",
    "queued_or_reserved",
    "limits",
  ];

  test.each(provenKeys)("makes the shard cold, which claim notices: %s", async (name) => {
    await fill();
    expect(await t.redis.del(t.key(name))).toBe(1);
    t.clock.nowMs += CHECK_EVERY_MS;
    await expect(t.claim("w1", 1)).rejects.toThrow(ColdError);
    await expect(t.queue.enqueue([job(50, "acme")])).rejects.toThrow(ColdError);
  });

  test.each(provenKeys)("makes the shard cold, which admit notices: %s", async (name) => {
    await fill();
    await t.redis.del(t.key(name));
    t.clock.nowMs += CHECK_EVERY_MS;
    const verdicts = await t.queue.admit([{ run: runOf(60), tenant: tenant("acme") }], 100);
    expect(verdicts).toEqual([{ ok: false, reason: "cold" }]);
    await expect(t.claim("w1", 1)).rejects.toThrow(ColdError);
  });

  test.each(provenKeys.slice(1))("is no error in the verbs that do not compare sizes: %s", async (name) => {
    await fill();
    await t.redis.del(t.key(name));
    const all = [1, 2, 3, 4, 10, 11].map((number) => job(number, "acme", { delayMs: 5 }));
    await t.queue.enqueue(all);
    await t.queue.release(all, "w1");
    await t.queue.renew({ shard: 0, owner: "w1", leaseMs: LEASE_MS, runs: [runOf(1)] });
    await t.queue.restoreLeases({ jobs: all, owner: "w1", leaseMs: LEASE_MS });
    await t.queue.finish(all, "w1");
    await t.queue.finish([job(12, "acme")], "");
  });

  // Fails when a claim assumes that a job, a limit or a ready run exists because its neighbour does.
  test.each(provenKeys)(
    "is no error in claim and admit before they compare sizes again: %s",
    async (name) => {
      await fill();
      await t.redis.del(t.key(name));
      const orCold = (error: unknown): string => {
        if (error instanceof ColdError) return "cold";
        throw error;
      };
      const admitted = await t.queue.admit([{ run: runOf(60), tenant: tenant("acme") }], 100);
      expect(admitted).toHaveLength(1);
      await t.claim("w2", 10).catch(orCold);
      t.clock.nowMs += LEASE_MS;
      expect(await t.claim("w2", 10).catch(orCold)).toBe("cold");
    },
  );

  test("costs only time when it is a ring, a marker or the virtual times", async () => {
    await fill();
    await t.redis.del(t.key("ring:default"), t.key("wake:default"), t.key("virtual_times"));
    expect(await t.claim("w2", 10, { default: 10 })).toEqual([]);
    await t.queue.pushLimits([limits("acme")]);
    expect(await t.claim("w2", 10, { default: 10 })).toEqual([11]);
  });

  test("is not hidden by limits that are pushed again", async () => {
    await t.begin(limits("acme"), limits("other"), limits("third"));
    await t.redis.del(t.key("limits"));
    await t.queue.pushLimits([limits("acme"), limits("other"), limits("third")]);
    await expect(t.claim("w1", 1)).rejects.toThrow(ColdError);
  });

  test("is noticed also in a ring whose ready runs were lost together with their jobs", async () => {
    await t.begin(limits("acme"));
    await t.queue.enqueue([job(1, "acme")]);
    await t.redis.del(t.key("ready"), t.key("queued_or_reserved"), t.key("jobs"));
    await expect(t.claim("w1", 1)).rejects.toThrow(ColdError);
    await expect(t.queue.stats(0)).rejects.toThrow(ColdError);
  });
});

describe("a caller with another number of shards", () => {
  const admit = (queue: Queue) => queue.admit([{ run: runOf(1), tenant: tenant("acme") }], 9);
  const pushLimits = (queue: Queue) => queue.pushLimits([limits("acme")]);
  const all = { ...verbs, admit, pushLimits };

  test.each(Object.entries(all))("is refused: %s", async (_, verb) => {
    await t.begin(limits("acme"));
    // With five shards too, this tenant is on shard 0.
    const otherShards = new Queue(timed(t.redis, t.clock), 5);
    await expect(verb(otherShards)).rejects.toThrow("SHARDS this queue is laid out for 1 shards");
    expect(await t.queue.stats(0)).toMatchObject({ reserved: 0, ready: 0, leased: 0 });
  });
});
