import { test } from "vitest";
import { expectChaosKeepsPromises } from "./run-chaos.ts";

/** Short, so that a slice of `.ci/run` takes less than two minutes. `npm run chaos` has a minute of it. */
const SECONDS = "40";

test("a quiet tenant loses nothing and is answered beside hostile ones", { timeout: 300_000 }, async () => {
  await expectChaosKeepsPromises("--only", "neighbours", "--seconds", SECONDS);
});
