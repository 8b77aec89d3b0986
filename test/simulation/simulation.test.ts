import fc from "fast-check";
import { expect, test, vi } from "vitest";
import { history, story } from "./history.ts";
import { simulate } from "./simulate.ts";

vi.mock("node:timers/promises", () => import("./timers-promises.ts"));
vi.mock("../../shared/log.ts", () => import("./log.ts"));

/** simulation.deep.test.ts takes 2,000. */
const HISTORIES = 200;

test(
  "after any history of faults every run ends as its program says, once, and nothing is left behind",
  { timeout: 120_000 },
  async () => {
    await simulate(HISTORIES);
  },
);

test("a history happens the same way each time", async () => {
  for (const given of fc.sample(history, { numRuns: 10, seed: 1 })) {
    expect(await story(given)).toBe(await story(given));
  }
});
