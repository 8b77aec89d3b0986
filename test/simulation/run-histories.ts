/**
 * The simulation: the product's workers, leases, journal, engine and reconciler in one process on a virtual clock, over
 * models of both stores, with faults at every call. contract.test.ts compares the model of Postgres with Postgres;
 * test/shared/queue/model.test.ts compares the model of the queue with Redis.
 *
 * A test file that calls it mocks the clock and the log first: see simulation.test.ts.
 */
import fc from "fast-check";
import { expect } from "vitest";
import { TEST_SEED } from "../services/seed.ts";
import { anyHistory, play, describeHistory } from "./history.ts";
import type { History } from "./history.ts";
import { known } from "./known-histories.ts";

/** Figures of some histories. */
export type Outcome = {
  /** Repairs by the reconcilers of all histories, by kind. */
  repairs: Record<string, number>;
  /** The longest time from the healing of all faults until everything was at rest. */
  longestRestMs: number;
};

/**
 * Plays `runs` random histories and those in known-histories.ts.
 * @throws Error with the seed and the description of the smallest history that broke a promise.
 */
export async function runHistories(runs: number): Promise<Outcome> {
  const repairs: Record<string, number> = {};
  let longestRestMs = 0;
  let failed: History | null = null;
  const result = await fc.check(
    fc.asyncProperty(anyHistory, async (history) => {
      const ended = await play(history);
      for (const each of ended.repairs) {
        for (const [kind, times] of Object.entries(each)) repairs[kind] = (repairs[kind] ?? 0) + times;
      }
      longestRestMs = Math.max(longestRestMs, ended.restMs);
      if (ended.violations.length > 0) failed = history;
      expect(ended.violations).toEqual([]);
    }),
    { numRuns: runs, examples: known, seed: TEST_SEED },
  );
  if (result.failed) {
    const [shrunk = failed] = result.counterexample ?? [];
    const text = shrunk ? await describeHistory(shrunk) : String(result.errorInstance);
    throw new Error(`To repeat it: SYNAPSE_TEST_SEED=${result.seed}\n${text}`);
  }
  console.info(
    `simulated ${runs} histories, seed ${result.seed}; at rest after ${longestRestMs} ms at most`,
    repairs,
  );
  return { repairs, longestRestMs };
}
