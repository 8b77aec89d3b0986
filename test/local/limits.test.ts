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
  expect(flooded.rowNames.toSorted()).toEqual(LIMITS.flat().toSorted());
});

const floodTwice = async (name: string): Promise<void> => {
  const row = flooded.rowOf(name);
  const tenant = `calm-${LIMITS.flat().indexOf(name)}`;
  await row.prepare(tenant);
  for (let round = 0; round < 2; round += 1) {
    if (round > 0) await row.settle(tenant);
    const used = await row.flood(tenant);
    expect(used).toBeLessThanOrEqual(row.most);
    expect(used).toBeGreaterThanOrEqual(row.least);
  }
};

// Most floods wait for a limit's time: five of them at once take a fifth of the time.
for (const names of LIMITS)
  describe(`beside other limits: ${names.join(", ")}`, { concurrent: true }, () => {
    test.each(names)(
      "%s is never passed by 50 clients at once, and can be used in full again afterwards",
      { concurrent: false },
      floodTwice,
    );
  });
