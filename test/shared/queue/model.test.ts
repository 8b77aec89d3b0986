import { afterAll, beforeAll, test } from "vitest";
import { checkHistories } from "./check-histories.ts";
import { TestQueue } from "./fixture.ts";

/** The deep tier takes 2,000. */
const HISTORIES = 40;

let t: TestQueue;
beforeAll(async () => {
  t = await TestQueue.start();
});
afterAll(() => t.stop());

test("in any history of all verbs by several workers, Redis replies and holds what the model does", () =>
  checkHistories(t, HISTORIES));
