import fc from "fast-check";
import { expect } from "vitest";
import { parseNewOrchestration } from "../../../shared/contracts/definition/index.ts";
import type { SharedSandbox } from "../../../worker-node/engine/sandbox.ts";
import { TEST_SEED } from "../../services/seed.ts";
import { definitionOf } from "./definition.ts";
import { anyLives } from "./faults.ts";
import { anyPlan } from "./plan.ts";
import { runUnderFaults } from "./run-under-faults.ts";

/**
 * Executes `count` random definitions twice, undisturbed and under random faults, and compares both.
 * @throws Error with the seed and the smallest plan and faults for which the outcomes differ, or the journal is wrong
 */
export async function checkDefinitions(count: number, sandbox: SharedSandbox): Promise<void> {
  await fc.assert(
    fc.asyncProperty(anyPlan, anyLives, async (plan, lives) => {
      const definition = definitionOf(plan);
      expect(parseNewOrchestration(definition)).toMatchObject({ ok: true });
      const calm = await runUnderFaults(definition, [], sandbox);
      expect(calm.violations).toEqual([]);
      expect(await runUnderFaults(definition, lives, sandbox)).toEqual(calm);
    }),
    { numRuns: count, seed: TEST_SEED },
  );
}
