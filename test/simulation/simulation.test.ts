import fc from "fast-check";
import { afterAll, expect, test, vi } from "vitest";
import { anyHistory, describeHistory } from "./history.ts";
import { known } from "./known-histories.ts";
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
const HISTORIES = 80;

test(
  "after any history of faults every run ends once, with an outcome of its orchestration, and the queue is empty",
  { timeout: 600_000 },
  async () => {
    await runHistories(HISTORIES);
  },
);

// Fails also when a worker reads the real clock: then a history depends on the age of its process.
test("a history with the same seed happens the same way each time, in a young process and in an old one", async () => {
  const histories = fc.sample(anyHistory, { numRuns: 10, seed: 1 });
  for (const history of [...histories, ...known.flat()]) {
    const young = await describeHistory(history);
    vi.spyOn(performance, "now").mockReturnValue(1e9);
    expect(await describeHistory(history)).toBe(young);
  }
});
