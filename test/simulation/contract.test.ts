import fc from "fast-check";
import { afterAll, beforeAll, test } from "vitest";
import { TEST_SEED } from "../services/seed.ts";
import { examples, openContract } from "./contract.ts";

/** contract.deep.test.ts takes 400. */
const HISTORIES = 30;

let contract: Awaited<ReturnType<typeof openContract>>;
beforeAll(async () => {
  contract = await openContract();
});
afterAll(() => contract.close());

test("after any history of statements the model of Postgres has returned what Postgres returned, and holds the same", () =>
  fc.assert(contract.property(), { numRuns: HISTORIES, examples, seed: TEST_SEED }));
