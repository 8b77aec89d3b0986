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

test("after any of 2,000 histories every run ends as its program says", { timeout: 600_000 }, async () => {
  const { repairs } = await runHistories(2_000);
  // The histories are wild enough to need these repairs. A repair of a run whose worker is long gone is needed in one of
  // a thousand histories only, as workers usually take such a run over first: those repairs have tests of their own.
  for (const kind of ["enqueued", "rebuilt", "limits"]) {
    expect(repairs[kind], `repairs of kind ${kind}`).toBeGreaterThan(0);
  }
});
