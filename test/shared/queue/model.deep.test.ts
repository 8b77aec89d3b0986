import { afterAll, beforeAll, test } from "vitest";
import { checkHistories } from "./check-histories.ts";
import { TestQueue } from "./fixture.ts";

let t: TestQueue;
beforeAll(async () => {
  t = await TestQueue.start();
});
afterAll(() => t.stop());

test("the model of the queue agrees with Redis in 2,000 histories", { timeout: 900_000 }, () =>
  checkHistories(t, 2_000),
);
