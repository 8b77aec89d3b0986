import fc from "fast-check";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Queue } from "../../../shared/queue/queue.ts";
import { rewriteOf } from "./mutation.ts";
import { ALL_LANES, job, LEASE_MS, limits, numberOf, TestQueue } from "./fixture.ts";

let t: TestQueue;
beforeAll(async () => {
  t = await TestQueue.start();
});
afterAll(() => t.stop());

type Share = { name: string; weight: number };
const nameOf = (i: number): string => `tenant-${i}`;
const PER_TENANT = 10_000;

/** Jobs of tenant i are numbered from i × 10 000. */
async function flood(queue: Queue, i: number, count: number, from = 0): Promise<void> {
  for (let n = from; n < from + count; n += 500) {
    const size = Math.min(500, from + count - n);
    await queue.enqueue(Array.from({ length: size }, (_, k) => job(i * PER_TENANT + n + k, nameOf(i))));
  }
}

/** Claims and finishes at once. @returns the tenant of each claimed job, in the order of the claim */
async function serve(queue: Queue, slots: number): Promise<number[]> {
  const { runs } = await queue.claim({
    shard: 0,
    owner: "w1",
    leaseMs: LEASE_MS,
    slots,
    lanes: ALL_LANES,
    ended: [],
  });
  await queue.finish(runs, "w1");
  return runs.map(({ run }) => Math.floor(numberOf(run) / PER_TENANT));
}

/** @throws when one of the tenants has more than its weight's share, by more than one job of each */
function checkShares(served: number[], tenants: Share[]): void {
  const times = tenants.map(({ weight }, i) => (served[i] ?? 0) / weight);
  tenants.forEach((one, i) =>
    tenants.forEach((other, j) => {
      const ahead = (times[i] ?? 0) - (times[j] ?? 0);
      const bound = 1 / one.weight + 1 / other.weight + 1e-9;
      if (ahead > bound)
        throw new Error(`${one.name} is ahead of ${other.name} by ${ahead}, more than ${bound}`);
    }),
  );
}

/** Weights, and the sizes of the claims that follow. */
const weights = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 2, maxLength: 5 });
const batches = fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 5, maxLength: 20 });

async function checkBacklogged(queue: Queue, weightsOf: number[], sizes: number[]): Promise<void> {
  const tenants = weightsOf.map((weight, i) => ({ name: nameOf(i), weight }));
  await t.begin(...tenants.map(({ name, weight }) => limits(name, { weight })));
  for (const i of tenants.keys()) await flood(queue, i, 250);
  const served = tenants.map(() => 0);
  for (const size of sizes) {
    for (const i of await serve(queue, size)) {
      served[i] = (served[i] ?? 0) + 1;
      checkShares(served, tenants);
    }
  }
}

/** Where a tenant enters the ring. */
const START = "math.max(tonumber(ring_time or 0), tonumber(tenant_time or 0))";

describe("tenants with ready jobs", () => {
  test("are served in proportion to their weights after every single job, by claims of any size", async () => {
    await fc.assert(
      fc.asyncProperty(weights, batches, (w, b) => checkBacklogged(t.queue, w, b)),
      { numRuns: 25 },
    );
  });

  test.each([
    ["the ring's time stands still", "claim.lua", "= ring_times[lane], next_start", "= 0, next_start"],
    ["weights are not read", "claim.lua", "1 / limit.weight", "1"],
    ["a new tenant begins at zero", "common.lua", START, "tonumber(tenant_time or 0)"],
    ["a tenant that comes back begins anew", "common.lua", START, "tonumber(ring_time or 0)"],
    ["a served tenant stays in front", "claim.lua", "exact_text(next_start)", "exact_text(start)"],
  ])(
    "the test above, or one of the next two, notices that %s",
    async (_, file, from, to) => {
      const broken = t.rewritten(rewriteOf({ file, from, to }));
      const all = async (w: number[], b: number[]): Promise<void> => {
        await checkBacklogged(broken, w, b);
        await checkComeAndGo(broken, w);
        await checkOneByOne(broken);
      };
      const result = await fc.check(fc.asyncProperty(weights, batches, all), {
        numRuns: 20,
        endOnFailure: true,
      });
      expect(result.failed).toBe(true);
    },
    60_000,
  );
});

/** The first tenant is alone for long; then the others come. From then on all are served by their weights. */
async function checkComeAndGo(queue: Queue, weightsOf: number[]): Promise<void> {
  const tenants = weightsOf.map((weight, i) => ({ name: nameOf(i), weight }));
  await t.begin(...tenants.map(({ name, weight }) => limits(name, { weight })));
  await flood(queue, 0, 500);
  for (let i = 0; i < 20; i++) await serve(queue, 10);
  for (const i of tenants.keys()) await flood(queue, i, 250, i === 0 ? 500 : 0);
  const served = tenants.map(() => 0);
  for (let round = 0; round < 20; round++) {
    for (const i of await serve(queue, 7)) {
      served[i] = (served[i] ?? 0) + 1;
      checkShares(served, tenants);
    }
  }
}

describe("a tenant that comes back or comes late", () => {
  test("gains nothing by its absence and does not wait for the others' backlog", async () => {
    await fc.assert(
      fc.asyncProperty(weights, (w) => checkComeAndGo(t.queue, w)),
      { numRuns: 10 },
    );
  });

  test("gains nothing by coming with one job at a time", () => checkOneByOne(t.queue));
});

/** One tenant has a backlog, the other enqueues a new job when its last one was served: each gets half. */
async function checkOneByOne(queue: Queue): Promise<void> {
  const tenants = [0, 1].map((i) => ({ name: nameOf(i), weight: 1 }));
  await t.begin(...tenants.map(({ name }) => limits(name)));
  await flood(queue, 0, 200);
  const served = [0, 0];
  for (let n = 0; n < 100; n++) {
    await flood(queue, 1, 1, served[1]);
    for (const i of await serve(queue, 1)) served[i] = (served[i] ?? 0) + 1;
    checkShares(served, tenants);
  }
}

describe("a flood of 10,000 jobs", () => {
  beforeEach(async () => {
    await t.begin(limits(nameOf(0)), limits(nameOf(1)), limits(nameOf(2)));
    await flood(t.queue, 0, PER_TENANT);
  });

  test("delays another tenant's first job by one turn at most", async () => {
    for (let i = 0; i < 30; i++) await serve(t.queue, 10);
    await flood(t.queue, 1, 1);
    expect((await serve(t.queue, 10)).slice(0, 2)).toContain(1);
    await flood(t.queue, 2, 3);
    expect((await serve(t.queue, 10)).slice(0, 6).filter((i) => i === 2)).toHaveLength(3);
  });

  test("delays it by one turn too when it came before the flood's first claim", async () => {
    await flood(t.queue, 1, 1);
    expect(new Set(await serve(t.queue, 2))).toEqual(new Set([0, 1]));
  });

  test("in one lane does not delay another lane's first job by more than one turn", async () => {
    for (let i = 0; i < 30; i++) await serve(t.queue, 10);
    await t.queue.enqueue([
      job(99_999, nameOf(0), { lane: "bulk" }),
      job(89_999, nameOf(0), { lane: "mail" }),
    ]);
    expect(new Set(await serve(t.queue, 3))).toEqual(new Set([0, 8, 9]));
  });
});
