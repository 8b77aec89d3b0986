import { expect, test } from "vitest";
import { Turns } from "../../../edge/clients/turns.ts";

/** Callers that act one at a time. `order`: the tenants in the order in which their callers acted. */
function oneAtATime() {
  const turns = new Turns(1);
  const order: string[] = [];
  const take = (tenant: string, bytes = 1) =>
    turns.take(
      async () => {
        order.push(tenant);
        await new Promise((resolve) => setImmediate(resolve));
      },
      { tenant, bytes },
    );
  return { turns, order, take };
}

// Fails when the callers of all tenants wait in one line.
test("tenants alternate: hundreds of callers of one tenant do not delay each caller of another by more than one turn", async () => {
  const { order, take } = oneAtATime();
  const flooding = Array.from({ length: 500 }, () => take("loud"));
  await Promise.all([take("quiet"), take("quiet")]);
  // Two loud callers come first (one acts, one has waited longest); then the tenants alternate.
  expect(order.lastIndexOf("quiet")).toBe(4);
  await Promise.all(flooding);
  expect(order).toHaveLength(502);
});

test("a tenant that has as many callers waiting as it may is refused, and another is not", async () => {
  const { take } = oneAtATime();
  const results = await Promise.allSettled([
    ...Array.from({ length: 1_002 }, () => take("loud")),
    take("quiet"),
  ]);
  const refused = results.filter(({ status }) => status === "rejected");
  expect(refused).toHaveLength(1);
  expect(refused[0]).toMatchObject({ reason: { code: "capacity" } });
  expect(results.at(-1)?.status).toBe("fulfilled");
});

test("all waiting callers can be refused at once, and later callers act", async () => {
  const { turns, order, take } = oneAtATime();
  const first = take("a");
  const waiting = [take("a"), take("b"), take("b")];
  turns.refuseWaiting(new Error("away"));
  expect((await Promise.allSettled(waiting)).map(({ status }) => status)).toEqual(Array(3).fill("rejected"));
  await first;
  await take("c");
  expect(order).toEqual(["a", "c"]);
});
