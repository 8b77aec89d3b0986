/** The whole system with the floods of `rows.ts`, for the tests of limits with and without killed processes. */
import postgres from "postgres";
import { OwnSystem } from "../own-system.ts";
import { Clients } from "./clients.ts";
import { saveFloodDefinitions } from "./definitions.ts";
import { setLanes } from "./lane-rows.ts";
import type { LimitRow } from "./limit-row.ts";
import { MailPeer } from "./mail-peer.ts";
import { Peer } from "./peer.ts";
import { limitRows } from "./rows.ts";

export type FloodedSystem = {
  system: OwnSystem;
  rowOf(name: string): LimitRow;
  rowNames: string[];
  stop(): Promise<void>;
};

/** @param isPatient as for `Clients` */
export async function startFlooded(isPatient: boolean): Promise<FloodedSystem> {
  const [peer, mailPeer] = await Promise.all([Peer.start(), MailPeer.start()]);
  const system = await OwnSystem.start({
    OPENAI_COMPATIBLE_BASE_URL: peer.modelsUrl,
    SMTP_URL: mailPeer.url,
    SMTP_FROM: "flood@example.com",
  });
  const sql = postgres(system.facts.postgres_url, { max: 2 });
  const clients = new Clients(system, sql, isPatient);
  await setLanes(clients);
  await saveFloodDefinitions(clients, peer);
  const rows = limitRows(clients, peer, mailPeer);
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
      peer.stop();
      mailPeer.stop();
    },
  };
}
