/** Tenants whose runs never end, beside others: the slots of a worker (Slots) and the claim script together. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Lane } from "../../../shared/contracts/run.ts";
import { keys } from "../../../shared/keys.ts";
import { Slots } from "../../../worker-node/fleet/slots.ts";
import { job, LEASE_MS, limits, numberOf, runOf, TestQueue } from "./fixture.ts";

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
  for (const { run, tenant } of runs) worker.take(run, tenant, "default");
  return runs.map(({ run }) => numberOf(run));
}

const jobsOf = (of: string, from: number, count: number) =>
  Array.from({ length: count }, (_, n) => job(from + n, of));
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

  test("loses no turn while it is passed over", async () => {
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
