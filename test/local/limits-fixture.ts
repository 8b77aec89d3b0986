/** The whole system with the floods of `limit-rows.ts`, for the tests of limits with and without killed processes. */
import postgres from "postgres";
import { limitRows, saveFloodDefinitions, type LimitRow } from "./limit-rows.ts";
import { OwnSystem } from "./own-system.ts";

export type FloodedSystem = {
  system: OwnSystem;
  rowOf(name: string): LimitRow;
  rowNames: string[];
  stop(): Promise<void>;
};

/** @param patient as for `limitRows` */
export async function startFlooded(patient: boolean): Promise<FloodedSystem> {
  const system = await OwnSystem.start();
  const sql = postgres(system.facts.postgres_url, { max: 2 });
  await saveFloodDefinitions(system);
  const rows = limitRows(system, sql, patient);
  return {
    system,
    rowNames: rows.map(({ name }) => name),
    rowOf(name) {
      const row = rows.find((each) => each.name === name);
      if (!row) throw new Error(`there is no limit ${name}`);
      return row;
    },
    async stop() {
      await sql.end();
      await system.stop();
    },
  };
}
