/** Limits of the lane of mails, in mails that the mail server has received. */
import { until } from "../../services/waiting.ts";
import type { Clients } from "./clients.ts";
import { LANES, WORKERS, beyondRate, rateBounds } from "./lane-rows.ts";
import type { LimitRow } from "./limit-row.ts";
import type { MailPeer } from "./mail-peer.ts";

export function mailRows(clients: Clients, peer: MailPeer): LimitRow[] {
  const { sql } = clients;
  const { mails } = peer;
  const { slots, starts_per_second: perSecond } = LANES.mail;
  const atOnce = WORKERS * slots;
  /** Mails of fifty runs. @returns when each has an outcome: those of a killed worker have one when its lease has lapsed */
  async function sendFifty(tenant: string, holdMs: number, together: number): Promise<void> {
    peer.hold = { ms: holdMs, together };
    await clients.fifty(() => clients.start(tenant, "orch_mails"));
    await clients.allEnded(tenant);
    await until(`the mails of ${tenant} have outcomes`, async () => {
      const pending = clients.count(
        sql`select count(*)::int as n from mails where tenant_id = ${tenant} and outcome is null`,
      );
      return (await pending) === 0;
    });
  }
  const prepare = (tenant: string) => clients.limit(tenant, {});
  const settle = (tenant: string) => clients.allEnded(tenant);

  return [
    {
      name: "slots of the lane mail",
      most: atOnce,
      least: atOnce,
      prepare,
      async flood(tenant) {
        mails.most = mails.open;
        await sendFifty(tenant, 700, atOnce);
        return mails.most;
      },
      settle,
    },
    {
      name: "starts_per_second of the lane mail",
      ...rateBounds(perSecond),
      prepare,
      async flood(tenant) {
        const sinceMs = performance.now();
        await sendFifty(tenant, 0, 0);
        const startsMs = mails.arrivalsMs.filter((atMs) => atMs >= sinceMs);
        return beyondRate(startsMs, sinceMs, perSecond);
      },
      settle,
    },
  ];
}
