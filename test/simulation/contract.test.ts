/**
 * The model of Postgres says what Postgres says: after any history of statements both have answered the same and hold
 * the same.
 *
 * SYNAPSE_CONTRACT_RUNS makes it longer.
 */
import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { globex, saveEmptyOrchestration, openStore } from "../shared/store/store-fixture.ts";
import type { Store } from "../shared/store/store-fixture.ts";
import {
  DeadlineLeavesOpen,
  EventSeqNotInFence,
  NoOverlap,
  NoSilenceNeeded,
  OwnerNotInFence,
  SignalsNotInPark,
} from "./broken.ts";
import { answeredTooLate, contractHistory, tiedWakeUps } from "./contract-commands.ts";
import type { ContractAct } from "./contract-commands.ts";
import type { Postgres } from "./postgres.ts";
import { Twins } from "./differential.ts";

const RUNS = Number(process.env.SYNAPSE_CONTRACT_RUNS ?? 80);

let store: Store;
beforeAll(async () => {
  store = await openStore();
  await saveEmptyOrchestration(store.sql, globex, "orch");
  // A Postgres that has just started has heard of nobody: until then nobody is silent.
  const [row] = await store.sql<{ ms: number }[]>`
    select extract(epoch from now() - pg_postmaster_start_time())::float8 * 1000 as ms`;
  await sleep(Math.max(0, 13_000 - (row?.ms ?? 0)));
});
afterAll(() => store.close());

/** What random histories meet seldom. */
const examples: [ContractAct[]][] = [[tiedWakeUps], [answeredTooLate]];

const property = (Model?: typeof Postgres) =>
  fc.asyncProperty(contractHistory, async (acts) => {
    const twins = new Twins(store.sql, Model);
    await twins.begin();
    for (const act of acts) {
      const [postgres, model] = await twins.act(act);
      expect(model, JSON.stringify(act)).toEqual(postgres);
    }
    const [postgres, model] = await twins.tables();
    expect(model).toEqual(postgres);
  });

test(
  "after any history of statements the model of Postgres has answered as Postgres and holds the same",
  { timeout: 60_000 + RUNS * 1_000 },
  () => fc.assert(property(), { numRuns: RUNS, examples }),
);

const broken = [
  OwnerNotInFence,
  EventSeqNotInFence,
  SignalsNotInPark,
  NoSilenceNeeded,
  NoOverlap,
  DeadlineLeavesOpen,
];
test.each(broken.map((Model) => ({ name: Model.name, Model })))(
  "a model that differs is noticed: $name",
  { timeout: 60_000 },
  async ({ Model }) => {
    const { failed } = await fc.check(property(Model), {
      numRuns: 300,
      endOnFailure: true,
      examples,
    });
    expect(failed).toBe(true);
  },
);
