/** Tenants whose runs never end, beside others: the slots of a worker (Slots) and the claim script together. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Lane } from "../../../shared/contracts/run.ts";
import type { RunId, TenantId } from "../../../shared/contracts/ids.ts";
import { keys } from "../../../shared/keys.ts";
import type { Queue } from "../../../shared/queue/queue.ts";
import { Slots } from "../../../worker-node/fleet/slots.ts";
import { job, LEASE_MS, limits, numberOf, runOf, tenant, TestQueue } from "./fixture.ts";
import { rewriteOf } from "./mutation.ts";

let t: TestQueue;
beforeAll(async () => {
  t = await TestQueue.start();
});
afterAll(() => t.stop());

const SLOTS = 4;
let slots: Slots;
beforeEach(async () => {
  await t.begin(...["greedy", "quiet", "third"].map((name) => limits(name)));
  slots = new Slots(SLOTS, Lane.options);
});

/** Claims what the worker has room for. @returns the numbers of the runs */
async function claim(worker = slots, owner = "w1"): Promise<number[]> {
  const request = { ...worker.room(), shard: 0, owner, leaseMs: LEASE_MS, ended: [] };
  const { runs } = await t.queue.claim(request);
  for (const { run, tenant: holder } of runs) worker.take(run, holder, "default");
  return runs.map(({ run }) => numberOf(run));
}

const jobsOf = (tenantName: string, from: number, count: number) =>
  Array.from({ length: count }, (_, n) => job(from + n, tenantName));
const markers = async () => ({
  open: await t.redis.llen(keys.wake(0, "default")),
  spare: await t.redis.llen(keys.wakeSpare(0, "default")),
});
const popMarkers = () => t.redis.del(keys.wake(0, "default"), keys.wakeSpare(0, "default"));

describe("a tenant whose runs never end", () => {
  test("takes all of a worker's WORKER_CONCURRENCY while it is alone, and no spare slot", async () => {
    await t.queue.enqueue(jobsOf("greedy", 0, 20));
    expect(await claim()).toHaveLength(SLOTS);
    expect(await claim()).toEqual([]);
  });

  test("does not keep another tenant's run from starting, although its own are first in turn", async () => {
    await t.queue.enqueue(jobsOf("greedy", 0, 20));
    await claim();
    await t.queue.enqueue([...jobsOf("greedy", 20, 20), ...jobsOf("quiet", 100, 1)]);
    expect(await claim()).toEqual([100]);
    await t.queue.enqueue(jobsOf("third", 200, 1));
    expect(await claim()).toEqual([200]);
  });

  test("keeps its turn while it is passed over", async () => {
    await t.queue.enqueue(jobsOf("greedy", 0, 20));
    await claim();
    await t.queue.enqueue(jobsOf("quiet", 100, 9));
    expect(await claim()).toEqual([100, 101]);
    // Another worker, with open slots: the greedy tenant starts where its turn was before the quiet one's runs.
    const other = new Slots(1, Lane.options);
    expect((await claim(other, "w2"))[0]).toBe(SLOTS);
  });

  test("does not set back the time of its ring when it is served after it was passed over", async () => {
    await t.queue.enqueue(jobsOf("greedy", 0, 20));
    await claim();
    await t.queue.enqueue(jobsOf("quiet", 100, 30));
    for (let n = 0; n < 10; n++) await claim(new Slots(1, Lane.options), `w${n + 2}`);
    const timeBefore = Number(await t.redis.hget(t.key("virtual_times"), "default"));
    await claim(new Slots(1, Lane.options), "w20");
    expect(Number(await t.redis.hget(t.key("virtual_times"), "default"))).toBeGreaterThanOrEqual(timeBefore);
  });
});

/** Runs of the same length. @returns how many of each tenant start in full workers with a backlog of all, for each 1 of weight */
async function startsByWeight(queue: Queue, concurrency: number, weights: number[]): Promise<number[]> {
  const names = weights.map((_, i) => `tenant-${i}`);
  await t.begin(
    ...names.map((name, i) => limits(name, { weight: weights[i] ?? 1, maxConcurrentRuns: 1_000 })),
  );
  for (const [i, name] of names.entries())
    for (let n = 0; n < 1_500; n += 500) await queue.enqueue(jobsOf(name, i * 10_000 + n, 500));
  const worker = new Slots(concurrency, Lane.options);
  const held: RunId[] = [];
  const started = new Map<TenantId, number>();
  const step = async (ended: RunId[]): Promise<void> => {
    for (const run of ended) worker.release(run);
    const request = { ...worker.room(), shard: 0, owner: "w1", leaseMs: LEASE_MS, ended };
    for (const { run, tenant: holder } of (await queue.claim(request)).runs) {
      worker.take(run, holder, "default");
      held.push(run);
      started.set(holder, (started.get(holder) ?? 0) + 1);
    }
  };
  // The runs that fill the idle worker are not counted: without competition nothing is shared.
  for (let n = 0; n < 100; n++) await step(held.splice(0, 1 + (n % 3)));
  started.clear();
  for (let n = 0; n < 600; n++) await step(held.splice(0, 1 + (n % 3)));
  return names.map((name, i) => (started.get(tenant(name)) ?? 0) / (weights[i] ?? 1));
}

/** @throws when a tenant's starts differ by more than 5 % from what its weight gives it */
async function checkWeights(queue: Queue, concurrency: number, weights: number[]): Promise<void> {
  const starts = await startsByWeight(queue, concurrency, weights);
  const mean = starts.reduce((sum, n) => sum + n, 0) / starts.length;
  for (const each of starts)
    if (Math.abs(each / mean - 1) > 0.05)
      throw new Error(`weights ${weights.join(":")} of ${concurrency} slots: ${starts.join(", ")} by weight`);
}

describe("the slots of a full worker", () => {
  const cases: [concurrency: number, weights: number[]][] = [
    [4, [1, 3]],
    [10, [1, 3]],
    [32, [1, 3]],
    [10, [2, 3, 5]],
    [12, [1, 1, 3, 5]],
  ];

  test.each(cases)(
    "of %i open ones go to tenants by their weights, %j, within 5 %",
    async (concurrency, weights) => {
      await checkWeights(t.queue, concurrency, weights);
    },
  );

  test.each([
    [
      "a light tenant goes past a heavy one at its share",
      "claim.lua",
      "and own + 1 <= least * weight_of(tenant)",
      "",
    ],
    [
      "what a tenant holds counts whatever its weight is",
      "claim.lua",
      "held_in(place, tenant) / weight_of(tenant)",
      "held_in(place, tenant)",
    ],
    [
      "the next run of a tenant that goes past others does not count",
      "claim.lua",
      "own + 1 <= least",
      "own <= least",
    ],
  ])("go to tenants by other parts when %s, and the test above fails", async (_, file, from, to) => {
    const broken = t.rewritten(rewriteOf({ file, from, to }));
    let noticed = "";
    for (const [concurrency, weights] of cases) {
      if (noticed === "") noticed = await checkWeights(broken, concurrency, weights).then(() => "", String);
    }
    expect(noticed).toContain("by weight");
  });

  test("are not kept from a heavy tenant by a lighter one whose runs never end", async () => {
    await t.begin(limits("light", { weight: 2 }), limits("heavy", { weight: 3 }));
    const worker = new Slots(9, Lane.options);
    await t.queue.enqueue(jobsOf("light", 0, 20));
    expect(await claim(worker)).toHaveLength(9);
    await t.queue.enqueue(jobsOf("heavy", 100, 20));
    expect(await claim(worker)).toHaveLength(5);
  });

  test("are all taken except for as many as one tenant holds, when many tenants have a backlog", async () => {
    const names = Array.from({ length: 10 }, (_, n) => `long-${n}`);
    await t.begin(...names.map((name) => limits(name, { maxConcurrentRuns: 20 })));
    const worker = new Slots(20, Lane.options);
    for (const [n, name] of names.entries()) await t.queue.enqueue(jobsOf(name, n * 100, 20));
    let taken = 0;
    for (let count = -1; count !== 0; taken += count) count = (await claim(worker)).length;
    expect(taken).toBeGreaterThanOrEqual(36);
  });
});

describe("the marker of spare slots", () => {
  test("is pushed for a tenant with few leases, and not for one that holds many", async () => {
    await t.queue.enqueue(jobsOf("greedy", 0, 20));
    expect(await markers()).toEqual({ open: 1, spare: 1 });
    await t.claim("w9", 8);
    await popMarkers();
    await t.queue.enqueue(jobsOf("greedy", 20, 1));
    expect(await markers()).toEqual({ open: 1, spare: 0 });
  });

  test("is not pushed by a claim that may take none of the ready jobs: two such workers would wake each other for ever", async () => {
    await t.queue.enqueue(jobsOf("greedy", 0, 20));
    await claim();
    await popMarkers();
    expect(await claim()).toEqual([]);
    expect(await markers()).toEqual({ open: 1, spare: 0 });
  });

  test("is pushed again by a claim that took jobs in spare slots and left others", async () => {
    await t.queue.enqueue(jobsOf("greedy", 0, 20));
    await claim();
    await t.queue.enqueue(jobsOf("quiet", 100, 9));
    await popMarkers();
    expect(await claim()).toHaveLength(2);
    expect(await markers()).toEqual({ open: 1, spare: 1 });
  });
});

describe("the lapsed leases of a tenant at its share", () => {
  test("leave a slot for another tenant, and are taken over as soon as the tenant has room", async () => {
    await t.queue.enqueue(jobsOf("greedy", 0, 20));
    expect(await claim(new Slots(8, Lane.options), "dead")).toHaveLength(8);
    t.clock.nowMs += LEASE_MS;
    expect(await claim()).toEqual([0, 1, 2, 3]);
    await t.queue.enqueue(jobsOf("quiet", 100, 1));
    expect(await claim()).toEqual([100]);
    slots.release(runOf(0));
    expect(await claim()).toEqual([4]);
    expect(await claim()).toEqual([]);
  });
});
