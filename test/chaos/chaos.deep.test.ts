import { test } from "vitest";
import { expectChaosKeepsPromises } from "./run-chaos.ts";

/**
 * How long the faults last: short, so that a slice of `.ci/run` takes less than two minutes. Before a release, run
 * `npm run chaos -- --minutes 20`.
 */
const MINUTES = "1";

test("the system keeps its promises through a minute of faults", { timeout: 300_000 }, async () => {
  await expectChaosKeepsPromises("--only", "faults", "--minutes", MINUTES, "--short");
});
