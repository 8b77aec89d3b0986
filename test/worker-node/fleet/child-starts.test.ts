import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { ChildAdmission } from "../../../worker-node/execution/execution-state.ts";
import { childStarts, notifiedOf } from "../../../worker-node/fleet/child-starts.ts";
import { Queue } from "../../../shared/queue/queue.ts";
import { job, limits, runOf, tenant, TestQueue } from "../../shared/queue/fixture.ts";
import { rebuildShard } from "../../shared/queue/rebuild-shard.ts";

let t: TestQueue;
beforeAll(async () => {
  t = await TestQueue.start();
});
afterAll(() => t.stop());

const away = async (): Promise<never> => Promise.reject(new Error("away"));
const hinted: string[] = [];
const startsOn = (queue: Queue, maxDepth = 1_000, isolation = true) =>
  childStarts({ queue, maxDepth: () => maxDepth, isolation, hint: (owner) => void hinted.push(owner) });
const admit = (number: number, tenantName = "acme", maxDepth?: number): Promise<ChildAdmission> =>
  startsOn(t.queue, maxDepth).admit({ run: runOf(number), tenant: tenant(tenantName) });
const queued = async () => (await t.queue.tenantStats(tenant("acme"))).queuedOrReserved;
const signalled = (number: number, owner: string | null = null) => ({
  run_id: runOf(number),
  tenant_id: tenant("acme"),
  status: owner === null ? ("queued" as const) : ("running" as const),
  owner,
  lane: "default" as const,
  priority: 0,
  queued_at_ms: 1,
});

describe("the admission of a child", () => {
  beforeEach(() =>
    t.begin(
      limits("acme", { maxQueuedRuns: 2, requestsPerSecond: 2 }),
      limits("other"),
      limits("off", { maxConcurrentRuns: 0 }),
    ),
  );

  test("takes a place, once, and gives it back when no run takes it", async () => {
    expect(await admit(1)).toEqual({ is: "admitted", quotaCheckedBy: "queue" });
    expect(await admit(1)).toEqual({ is: "admitted", quotaCheckedBy: "queue" });
    expect(await queued()).toBe(1);
    startsOn(t.queue).giveBack({ run: runOf(1), tenant: tenant("acme") });
    await expect.poll(queued).toBe(0);
  });

  // Fails when one of these refusals becomes an error, or the child comes back at once.
  test("waits while there is no room, no token, or no slot for its tenant, and names the reason", async () => {
    await t.queue.enqueue([job(8, "acme"), job(9, "acme")]);
    expect(await admit(1)).toMatchObject({
      is: "wait",
      why: "the tenant has 2 runs queued, which is its limit",
    });
    expect(await admit(1, "other", 1)).toMatchObject({
      is: "wait",
      why: expect.stringContaining("the system"),
    });
    expect(await admit(1, "off")).toMatchObject({
      is: "wait",
      why: expect.stringContaining("may not start"),
    });
    await t.begin(limits("acme", { requestsPerSecond: 1 }));
    await admit(1);
    expect(await admit(2)).toMatchObject({ is: "wait", why: expect.stringContaining("a second") });
    for (const wait of [await admit(2), await admit(2)]) {
      expect(wait.is === "wait" && wait.afterMs).toBeGreaterThanOrEqual(1_000);
      expect(wait.is === "wait" && wait.afterMs).toBeLessThanOrEqual(1_500);
    }
  });

  test("lets Postgres count when the queue has room but is not quota ready, and waits when the queue has no room", async () => {
    await t.redis.flushall();
    expect(await admit(1)).toMatchObject({ is: "wait", why: "the queue is being rebuilt" });
    await rebuildShard(t.queue, 0, () => t.queue.pushLimits([limits("acme")]));
    expect(await admit(1)).toEqual({ is: "admitted", quotaCheckedBy: "postgres" });
    const withoutLimits = startsOn(t.queue, 1_000, false);
    expect(await withoutLimits.admit({ run: runOf(2), tenant: tenant("acme") })).toEqual({
      is: "admitted",
      quotaCheckedBy: "queue",
    });
  });

  test("waits while the queue cannot be reached", async () => {
    const unreachable = new Queue({ evalsha: away, eval: away }, 1);
    expect(await startsOn(unreachable).admit({ run: runOf(1), tenant: tenant("acme") })).toMatchObject({
      is: "wait",
      why: "the queue cannot be reached",
    });
  });
});

test("runs that have become due are enqueued whatever the quota is, and the owners of running ones get a hint", async () => {
  await t.begin(limits("acme", { maxQueuedRuns: 0 }));
  startsOn(t.queue).notify([signalled(1), signalled(2, "w#00000001")]);
  expect(hinted).toEqual(["w#00000001"]);
  await expect.poll(async () => (await t.queue.stats(0)).ready).toBe(1);
});

test("a run that several ends of one flush have notified is reported once", () => {
  const committed = [
    { notified: [signalled(1)] },
    { notified: null },
    {},
    { notified: [signalled(1), signalled(2)] },
  ];
  expect(notifiedOf(committed).map(({ run_id }) => run_id)).toEqual([runOf(1), runOf(2)]);
});
