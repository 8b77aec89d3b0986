import { expect, test } from "vitest";
import { ReservationLimiter } from "../../../worker-node/execution/reservation-limiter.ts";

// Fails when one tenant takes all places, or when a place is lost after a failure.
test("one reservation of each tenant is under way at a time, two in all, and the tenants take turns", async () => {
  const limiter = new ReservationLimiter();
  const order: string[] = [];
  const open = new Map<string, number>();
  let most = 0;
  const work = (tenant: string, n: number) =>
    limiter.run(tenant, async () => {
      open.set(tenant, (open.get(tenant) ?? 0) + 1);
      most = Math.max(
        most,
        [...open.values()].reduce((sum, count) => sum + count, 0),
      );
      expect(open.get(tenant)).toBe(1);
      order.push(`${tenant}${n}`);
      await new Promise(setImmediate);
      open.set(tenant, 0);
      if (n === 1) throw new Error("Postgres is away");
      return n;
    });
  const all = [1, 2, 3].map((n) => work("a", n));
  all.push(work("b", 1), work("c", 1), work("c", 2));
  const outcomes = await Promise.allSettled(all);
  expect(outcomes.map(({ status }) => status === "fulfilled")).toEqual([
    false,
    true,
    true,
    false,
    false,
    true,
  ]);
  expect(most).toBe(2);
  expect(order.slice(0, 4)).toEqual(["a1", "b1", "a2", "c1"]);
  expect(order).toHaveLength(6);
});
