import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { TEST_SEED } from "../services/seed.ts";
import {
  DeadlineLeavesQuestionOpen,
  EventSeqNotInFence,
  ScanWithoutOverlap,
  TakesOverFromLiveOwners,
  OwnerNotInFence,
  SignalsNotInPark,
} from "./broken-postgres-models.ts";
import { examples, openContract } from "./contract.ts";

let contract: Awaited<ReturnType<typeof openContract>>;
beforeAll(async () => {
  contract = await openContract();
});
afterAll(() => contract.close());

test("the model of Postgres agrees with Postgres in 400 histories", { timeout: 600_000 }, () =>
  fc.assert(contract.property(), { numRuns: 400, examples, seed: TEST_SEED }),
);

const broken = [
  OwnerNotInFence,
  EventSeqNotInFence,
  SignalsNotInPark,
  TakesOverFromLiveOwners,
  ScanWithoutOverlap,
  DeadlineLeavesQuestionOpen,
];
test.each(broken.map((Model) => ({ name: Model.name, Model })))(
  "the contract notices a model that lacks a condition: $name",
  async ({ Model }) => {
    const { failed } = await fc.check(contract.property(Model), {
      numRuns: 300,
      endOnFailure: true,
      examples,
    });
    expect(failed).toBe(true);
  },
);
