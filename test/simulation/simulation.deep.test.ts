import { afterAll, expect, test, vi } from "vitest";
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

test(
  "after any of 2,000 histories every run has one of the outcomes of its orchestration",
  { timeout: 600_000 },
  async () => {
    const { repairs } = await runHistories(2_000);
    // The histories have enough faults to need these repairs. Only one history in a thousand
    // needs the repair of a run whose worker ended long ago, because other workers usually take such a run over first:
    // those repairs have tests of their own.
    for (const kind of ["enqueued", "rebuilt", "limits"]) {
      expect(repairs[kind], `repairs of kind ${kind}`).toBeGreaterThan(0);
    }
  },
);
