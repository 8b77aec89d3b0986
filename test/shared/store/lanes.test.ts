import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { TenantId } from "../../../shared/contracts/ids.ts";
import { changeLane, readLanes } from "../../../shared/store/lanes/lane-rows.ts";
import { takeStarts } from "../../../shared/store/lanes/lane-starts.ts";
import { deleteDeliveries } from "../../../shared/store/webhooks/delete-deliveries.ts";
import { handBack } from "../../../shared/store/runs/claim-runs.ts";
import { reclaimFromSilent } from "../../../shared/store/runs/reclaim-runs.ts";
import { tenant } from "../queue/fixture.ts";
import { openStore } from "./store-fixture.ts";
import type { Store } from "./store-fixture.ts";

let store: Store;
beforeAll(async () => {
  store = await openStore();
});
afterAll(() => store.close());
beforeEach(async () => {
  await store.sql`truncate lanes, lane_starts, webhook_deliveries`;
});

describe("a change of a lane", () => {
  test("keeps the other settings, and null returns one to its default", async () => {
    await changeLane(store.sql, "bulk", { weight: 3, slots: 2 });
    await changeLane(store.sql, "mail", { starts_per_second: 0.5 });
    expect(await changeLane(store.sql, "bulk", { slots: null, attempts: 5 })).toEqual({
      bulk: { weight: 3, attempts: 5 },
      mail: { starts_per_second: 0.5 },
    });
    expect(await readLanes(store.sql)).toEqual({
      bulk: { weight: 3, attempts: 5 },
      mail: { starts_per_second: 0.5 },
    });
  });
});

describe("the starts of a lane that Postgres hands out", () => {
  const take = (wanted: number, perSecond = 10) => takeStarts(store.sql, { lane: "mail", wanted, perSecond });
  /** Moves the bucket's time back, as if that time had passed. */
  const pass = (seconds: number) =>
    store.sql`update lane_starts set at = at - ${seconds} * interval '1 second'`;

  test("begin at none, and grow with time up to those of a quarter of a second", async () => {
    const first = await take(5);
    expect(first.granted).toBe(0);
    // A tenth of a second, without what the call itself lasts.
    expect(first.next_ms).toBeGreaterThan(0);
    expect(first.next_ms).toBeLessThanOrEqual(100);
    await pass(60);
    expect((await take(5)).granted).toBe(2);
    // The bucket's time is ahead, so none come back until the next call.
    await pass(-3_600);
    expect((await take(5)).granted).toBe(0);
  });

  // Fails when the row is read without its lock.
  test("are granted once, however many workers ask at once", async () => {
    await take(0, 40);
    for (let round = 0; round < 10; round += 1) {
      await pass(10);
      const replies = await Promise.all(Array.from({ length: 12 }, () => take(3, 40)));
      const granted = replies.reduce((sum, reply) => sum + reply.granted, 0);
      // Ten starts, and those of the time that the calls themselves take.
      expect(granted).toBeGreaterThanOrEqual(10);
      const [row] = await store.sql`select starts from lane_starts where lane = 'mail'`;
      expect(Number(row?.["starts"])).toBeLessThanOrEqual(10);
      await store.sql`update lane_starts set starts = 0, at = clock_timestamp()`;
    }
  });

  test("that are returned may be taken by another worker, and never pass the bucket", async () => {
    await take(0);
    await pass(60);
    expect((await take(2)).granted).toBe(2);
    expect((await take(-2)).granted).toBe(-2);
    expect((await take(5)).granted).toBe(2);
    await take(-1_000);
    expect((await take(50)).granted).toBe(2);
  });

  test("go on from the new time when the clock was set back", async () => {
    await take(0);
    await store.sql`update lane_starts set at = now() + interval '1 hour'`;
    expect((await take(1)).granted).toBe(0);
    await pass(60);
    expect((await take(1)).granted).toBe(1);
  });
});

describe("the backoff of a lane of runs", () => {
  const dueInSeconds = async (run: string): Promise<number> => {
    const [row] =
      await store.sql`select extract(epoch from wake_at - now())::float8 as s from runs where run_id = ${run}`;
    return Number(row?.["s"]);
  };

  test("delays a run that is handed back, and one that the reconciler reclaims from a silent worker", async () => {
    const run = await store.startRun({ lane: "bulk" });
    await handBack(store.sql, run.owner, [{ run_id: run.run_id, attempt: 1, delay_ms: 3_600_000 }]);
    expect(await dueInSeconds(run.run_id)).toBeGreaterThan(3_000);

    await changeLane(store.sql, "bulk", { first_backoff_seconds: 600 });
    const [slow, fast] = [await store.startRun({ lane: "bulk" }), await store.startRun()];
    await store.sql`update runs set crash_count = 1 where run_id = ${slow.run_id}`;
    for (const { owner } of [slow, fast]) {
      const [worker] =
        await store.sql`select beat_at::text as beat from workers where incarnation = ${owner}`;
      await reclaimFromSilent(store.sql, owner, String(worker?.["beat"]));
    }
    expect(await dueInSeconds(slow.run_id)).toBeGreaterThan(1_000);
    expect(await dueInSeconds(fast.run_id)).toBeLessThanOrEqual(0);
  });
});

describe("the retention of deliveries", () => {
  let count = 0;
  const deliver = async (
    tenantId: TenantId,
    outcome: "delivered" | "expired",
    daysAgo: number,
  ): Promise<string> => {
    count += 1;
    const id = `whd_aaaaaaaaaaaa_1780499750067_${count}`;
    const run = `run_aaaaaaaaaaaa_${1_780_499_750_067 + count}`;
    await store.sql`
      insert into webhook_deliveries (delivery_id, run_id, seq, tenant_id, orchestration_id, type, url, status, tokens,
        cost_micro_usd, next_at, outcome, created_at, done_at, expires_at)
      values (${id}, ${run}, 1, ${tenantId}, 'orch', 'run.completed', 'https://example.com/', 'completed', 0,
        0, null, ${outcome}, now() - ${daysAgo} * interval '1 day', now() - ${daysAgo} * interval '1 day', now())`;
    return id;
  };
  const kept = async (): Promise<string[]> =>
    (await store.sql`select delivery_id from webhook_deliveries`).map((row) => String(row["delivery_id"]));

  test("is by age, with an age of its own for those that failed", async () => {
    const acme = tenant("acme");
    const [young, old] = [await deliver(acme, "delivered", 1), await deliver(acme, "delivered", 3)];
    const failed = await deliver(acme, "expired", 3);
    await deleteDeliveries(store.sql);
    expect(new Set(await kept())).toEqual(new Set([young, old, failed]));
    await changeLane(store.sql, "webhooks", { keep_completed_seconds: 2 * 86_400 });
    await deleteDeliveries(store.sql);
    expect(new Set(await kept())).toEqual(new Set([young, failed]));
    await changeLane(store.sql, "webhooks", { keep_failed_seconds: 0 });
    await deleteDeliveries(store.sql);
    expect(await kept()).toEqual([young]);
  });

  test("is by count for each tenant: the newest stay, and a tenant with many takes no place of another one", async () => {
    const ids: string[] = [];
    for (const days of [5, 4, 3, 2, 1]) ids.push(await deliver(tenant("flood"), "delivered", days));
    const quiet = await deliver(tenant("quiet"), "delivered", 9);
    const failed = await deliver(tenant("flood"), "expired", 9);
    await changeLane(store.sql, "webhooks", { keep_completed_count: 2 });
    expect(await deleteDeliveries(store.sql)).toBe(false);
    expect(new Set(await kept())).toEqual(new Set([...ids.slice(3), quiet, failed]));
  });
});
