/** Limits of lanes: what one worker does at once, and what all workers together begin in a second. */
import { burstOf } from "../../../shared/contracts/lane-settings.ts";
import { until } from "../../services/waiting.ts";
import type { Clients } from "./clients.ts";
import type { LimitRow } from "./limit-row.ts";
import type { Peer } from "./peer.ts";

export const WORKERS = 2;
const HELD_MS = 300;
const SLOTS_HELD_MS = 700;
/** The settings of lanes during all floods. */
export const LANES = {
  bulk: { slots: 2 },
  interactive: { starts_per_second: 10 },
  webhooks: { slots: 3, starts_per_second: 10 },
  // A killed worker's mails have outcomes half a minute after this time.
  mail: { slots: 3, starts_per_second: 10, timeout_seconds: 5 },
};

/** Sets the lanes, before the first flood: a change acts within 5 s. */
export async function setLanes(clients: Clients): Promise<void> {
  for (const [lane, settings] of Object.entries(LANES))
    await clients.must("PATCH", `/scale/queue/${lane}`, settings);
}

const TOOL_PATH = "/tool";
const TOOLS_AT_ONCE = WORKERS * LANES.bulk.slots;
const WEBHOOKS_AT_ONCE = WORKERS * LANES.webhooks.slots;

/** The address of the tool of runs of the lane `bulk`. */
export const laneToolUrl = (peer: Peer): string => peer.url(TOOL_PATH, HELD_MS, TOOLS_AT_ONCE);

/** The most starts at any time beyond those that the rate had allowed until then. A full bucket allows its burst at once. */
export function beyondRate(startsMs: readonly number[], sinceMs: number, perSecond: number): number {
  if (startsMs.length === 0) throw new Error("nothing has started");
  const sorted = startsMs.toSorted((a, b) => a - b);
  return Math.max(...sorted.map((atMs, n) => n + 1 - ((atMs - sinceMs) * perSecond) / 1_000));
}

/**
 * How late the first start is depends on the machine, so there is no least. That the rate can be used again is shown by each flood: it
 * ends when all fifty have begun and ended.
 */
export const rateBounds = (perSecond: number) => ({
  most: burstOf(perSecond),
  least: Number.NEGATIVE_INFINITY,
});

export function laneRows(clients: Clients, peer: Peer): LimitRow[] {
  const { sql } = clients;
  const webhookPath = (tenant: string, kind: string) => `/hook/${tenant}/${kind}`;
  /** Fifty runs whose ends are sent to the peer. @returns when all were received */
  async function sendFifty(tenant: string, webhook_url: string): Promise<void> {
    const ids = await clients.fifty(() => clients.start(tenant, "orch_short", { webhook_url }));
    await until(`the webhooks of ${ids.length} runs are delivered`, async () => {
      const pending = clients.count(sql`
        select count(*)::int as n from webhook_deliveries where tenant_id = ${tenant} and outcome is null`);
      return (await clients.open(tenant)) === 0 && (await pending) === 0;
    });
  }
  const prepare = (tenant: string) => clients.limit(tenant, {});
  const settle = (tenant: string) => clients.allEnded(tenant);

  return [
    {
      name: "slots of a lane",
      most: TOOLS_AT_ONCE,
      least: TOOLS_AT_ONCE,
      prepare,
      async flood(tenant) {
        peer.forgetMost(TOOL_PATH);
        await clients.fifty(() => clients.start(tenant, "orch_calls", { lane: "bulk" }));
        await clients.allEnded(tenant);
        return peer.requestsOf(TOOL_PATH).most;
      },
      settle,
    },
    {
      name: "starts_per_second of a lane",
      ...rateBounds(LANES.interactive.starts_per_second),
      prepare,
      async flood(tenant) {
        const sinceMs = await clients.now();
        await clients.fifty(() => clients.start(tenant, "orch_short", { lane: "interactive" }));
        await clients.allEnded(tenant);
        const rows = await sql<{ ms: number }[]>`
          select extract(epoch from started_at)::float8 * 1000 as ms from runs
          where tenant_id = ${tenant} and started_at >= to_timestamp(${sinceMs}::float8 / 1000)`;
        const startsMs = rows.map(({ ms }) => ms);
        return beyondRate(startsMs, sinceMs, LANES.interactive.starts_per_second);
      },
      settle,
    },
    {
      name: "slots of the lane webhooks",
      most: WEBHOOKS_AT_ONCE,
      least: WEBHOOKS_AT_ONCE,
      prepare,
      async flood(tenant) {
        const path = webhookPath(tenant, "slots");
        peer.forgetMost(path);
        await sendFifty(tenant, peer.url(path, SLOTS_HELD_MS, WEBHOOKS_AT_ONCE));
        return peer.requestsOf(path).most;
      },
      settle,
    },
    {
      name: "starts_per_second of the lane webhooks",
      ...rateBounds(LANES.webhooks.starts_per_second),
      prepare,
      async flood(tenant) {
        const path = webhookPath(tenant, "rate");
        const sinceMs = performance.now();
        await sendFifty(tenant, peer.url(path, 0));
        const { arrivalsMs } = peer.requestsOf(path);
        const startsMs = arrivalsMs.filter((atMs) => atMs >= sinceMs);
        return beyondRate(startsMs, sinceMs, LANES.webhooks.starts_per_second);
      },
      settle,
    },
  ];
}
