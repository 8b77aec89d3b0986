import { afterAll, beforeAll, test } from "vitest";
import { checkHistories } from "./check-histories.ts";
import { TestQueue } from "./fixture.ts";
import { TEST_SEED } from "../../services/seed.ts";

let t: TestQueue;
beforeAll(async () => {
  t = await TestQueue.start();
});
afterAll(() => t.stop());

test("the model of the queue agrees with Redis in another 1,000 histories", { timeout: 900_000 }, () =>
  checkHistories(t, 1_000, TEST_SEED + 1),
);
