/**
 * The contract between Postgres and its model: after any history of statements both have returned the same and hold the
 * same rows.
 */
import fc from "fast-check";
import { expect } from "vitest";
import { globex, openStore, saveEmptyOrchestration } from "../shared/store/store-fixture.ts";
import { untilOwnersCanBeSilent } from "../shared/store/postgres-uptime.ts";
import { answeredTooLate, contractHistory, tiedWakeUps } from "./contract-commands.ts";
import type { ContractCommand } from "./contract-commands.ts";
import { Differential } from "./differential.ts";
import type { PostgresModel } from "./postgres-model.ts";

/** Histories that random ones seldom contain. */
export const examples: [ContractCommand[]][] = [[tiedWakeUps], [answeredTooLate]];

export async function openContract() {
  const store = await openStore();
  await saveEmptyOrchestration(store.sql, globex, "orch");
  // For the first seconds after its start Postgres counts no worker as silent, and the model's Postgres started long ago.
  await untilOwnersCanBeSilent(store.sql);
  return {
    close: store.close,
    /** Fails for a history in which Postgres and `Model` differ. */
    property: (Model?: typeof PostgresModel) =>
      fc.asyncProperty(contractHistory, async (commands) => {
        const differential = new Differential(store.sql, Model);
        await differential.begin();
        for (const command of commands) {
          const [postgres, model] = await differential.run(command);
          expect(model, JSON.stringify(command)).toEqual(postgres);
        }
        const [postgres, model] = await differential.tables();
        expect(model).toEqual(postgres);
      }),
  };
}
