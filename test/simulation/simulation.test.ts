/**
 * The core, as it is, in one process on a virtual clock: workers, leases, journal, engine and reconciler over models of
 * both stores (contract.test.ts and test/queue/model.test.ts hold these to the real ones), with faults at every call.
 *
 * SYNAPSE_SIM_RUNS makes it longer; SYNAPSE_SIM_SEED repeats one.
 */
import fc from "fast-check";
import { expect, test, vi } from "vitest";
import { history, live, story } from "./history.ts";
import type { History } from "./history.ts";
import { known } from "./known.ts";

vi.mock("node:timers/promises", () => import("./timers-promises.ts"));
vi.mock("../../shared/log.ts", () => import("./log.ts"));

const RUNS = Number(process.env.SYNAPSE_SIM_RUNS ?? 2_000);
const SEED = process.env.SYNAPSE_SIM_SEED;

test(
  "after any history of faults every run ends as its program says, once, and nothing is left behind",
  { timeout: 60_000 + RUNS * 100 },
  async () => {
    const counted: Record<string, number> = {};
    let longestMs = 0;
    let failed: History | null = null;
    const result = await fc.check(
      fc.asyncProperty(history, async (given) => {
        const { violations, restMs, repairs } = await live(given);
        for (const each of repairs) {
          for (const [kind, times] of Object.entries(each)) counted[kind] = (counted[kind] ?? 0) + times;
        }
        longestMs = Math.max(longestMs, restMs);
        if (violations.length > 0) failed = given;
        expect(violations).toEqual([]);
      }),
      { numRuns: RUNS, examples: known, ...(SEED === undefined ? {} : { seed: Number(SEED) }) },
    );
    if (result.failed) {
      const [shrunk = failed] = result.counterexample ?? [];
      throw new Error(`seed ${result.seed}\n${shrunk ? await story(shrunk) : String(result.errorInstance)}`);
    }
    console.info(
      `simulated ${RUNS} histories; the longest way to rest took ${longestMs} ms: ${JSON.stringify(counted)}`,
    );
    // Else the histories are too tame to prove anything. What others have taken over long before is repaired in one of a
    // thousand histories: those repairs have tests of their own.
    if (RUNS < 1_000) return;
    for (const kind of ["enqueued", "rebuilt", "limits"]) {
      expect(counted[kind], `repairs of kind ${kind}`).toBeGreaterThan(0);
    }
  },
);

test("a history happens the same way again", async () => {
  for (const given of fc.sample(history, { numRuns: 10, seed: 1 })) {
    expect(await story(given)).toBe(await story(given));
  }
});
