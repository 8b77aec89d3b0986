import { afterAll, beforeAll, test } from "vitest";
import { checkHistories } from "./check-histories.ts";
import { TestQueue } from "./fixture.ts";

let t: TestQueue;
beforeAll(async () => {
  t = await TestQueue.start();
});
afterAll(() => t.stop());

/** Half of the 2,000: the other half is a file of its own, so that each fits into a slice of `.ci/run`. */
test("the model of the queue agrees with Redis in 1,000 histories", { timeout: 900_000 }, () =>
  checkHistories(t, 1_000),
);
