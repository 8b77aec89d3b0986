/** Each limit of a tenant against 50 clients, on the whole system. `limits.deep.test.ts` kills its processes meanwhile. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { LIMITS } from "./limits/rows.ts";
import { startFlooded, type FloodedSystem } from "./limits/flooded-system.ts";

let flooded: FloodedSystem;
beforeAll(async () => {
  flooded = await startFlooded(false);
});
afterAll(() => flooded.stop());

test("every limit of the table is tested", () => {
  expect(flooded.rowNames).toEqual(LIMITS);
});

describe.each(LIMITS)("%s", (name) => {
  test("is never passed by 50 clients at once, and can be used in full again afterwards", async () => {
    const row = flooded.rowOf(name);
    const tenant = `calm-${LIMITS.indexOf(name)}`;
    await row.prepare(tenant);
    for (let round = 0; round < 2; round += 1) {
      if (round > 0) await row.settle(tenant);
      const used = await row.flood(tenant);
      expect(used).toBeLessThanOrEqual(row.most);
      expect(used).toBeGreaterThanOrEqual(row.least);
    }
  });
});
