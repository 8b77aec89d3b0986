import fc from "fast-check";
import { afterAll, expect, test, vi } from "vitest";
import { history, story } from "./history.ts";
import { runHistories } from "./run-histories.ts";

// Test files share their modules. This one loads the product anew with mocks, and leaves no mocked module behind.
vi.hoisted(() => vi.resetModules());
vi.mock("node:timers/promises", () => import("./virtual-timers.ts"));
vi.mock("../../shared/log.ts", () => import("./traced-log.ts"));
afterAll(() => {
  vi.doUnmock("node:timers/promises");
  vi.doUnmock("../../shared/log.ts");
  vi.resetModules();
});

/** simulation.deep.test.ts takes 2,000. */
const HISTORIES = 200;

test(
  "after any history of faults every run ends as its program says, once, and nothing is left behind",
  { timeout: 120_000 },
  async () => {
    await runHistories(HISTORIES);
  },
);

test("a history happens the same way each time", async () => {
  for (const given of fc.sample(history, { numRuns: 10, seed: 1 })) {
    expect(await story(given)).toBe(await story(given));
  }
});
