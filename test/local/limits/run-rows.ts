/** Limits on how many runs of a tenant wait or are executed at once. */
import { z } from "zod";
import type { Clients } from "./clients.ts";
import type { LimitRow } from "./limit-row.ts";
import type { Peer } from "./peer.ts";

const CONCURRENT = 16;
const PATH = "/run";

/** The address of the tool of runs that are executed at once. */
export const runToolUrl = (peer: Peer): string => peer.url(PATH, 0, CONCURRENT);

const Session = z.object({ session_id: z.string() });

export function runRows(clients: Clients, peer: Peer): LimitRow[] {
  const { sql } = clients;
  const sessions = new Map<string, string>();

  /**
   * How many of the tenant's runs since `sinceMs` were executed at the same time, at most. An execution begins at `started_at`: `queued_at`
   * is the time at which a transaction began, which may have waited for the end of another run.
   */
  const overlap = (tenant: string, sinceMs: number) =>
    clients.count(sql`
      select coalesce(max(n), 0)::int as n from (
        select sum(step) over (order by at, step) as n from (
          select started_at as at, 1 as step from runs where tenant_id = ${tenant} and started_at is not null
            and queued_at >= to_timestamp(${sinceMs}::float8 / 1000)
          union all
          select coalesce(ended_at, 'infinity'), -1 from runs where tenant_id = ${tenant} and started_at is not null
            and queued_at >= to_timestamp(${sinceMs}::float8 / 1000)) edges) sums`);
  /** How many runs that 50 clients start are executed at once, at most. */
  async function mostAtOnce(tenant: string, start: () => Promise<unknown>): Promise<number> {
    const sinceMs = await clients.now();
    await clients.fifty(start);
    await clients.allEnded(tenant);
    return overlap(tenant, sinceMs);
  }
  const settle = (tenant: string) => clients.allEnded(tenant);

  return [
    {
      name: "max_queued_runs",
      most: 20,
      least: 20,
      prepare: (tenant) => clients.limit(tenant, { max_queued_runs: 20 }),
      async flood(tenant) {
        await clients.fifty(() => clients.start(tenant, "orch_paid", { delay_seconds: 3_600 }));
        return clients.open(tenant);
      },
      settle: (tenant) => clients.cancelAll(tenant),
    },
    {
      name: "max_concurrent_runs",
      most: CONCURRENT,
      least: CONCURRENT,
      prepare: (tenant) => clients.limit(tenant, { max_concurrent_runs: CONCURRENT }),
      flood(tenant) {
        peer.forgetMost(PATH);
        return mostAtOnce(tenant, () => clients.start(tenant, "orch_runs"));
      },
      settle,
    },
    {
      name: "one turn of a chat session",
      most: 1,
      least: 1,
      async prepare(tenant) {
        await clients.limit(tenant, {});
        const body = { message: "hi", agent: "agent_model" };
        const first = await clients.ask("POST", "/api/v2/chat", { body, key: await clients.keyOf(tenant) });
        sessions.set(tenant, Session.parse(await first.json()).session_id);
        await clients.allEnded(tenant);
      },
      async flood(tenant) {
        const key = await clients.keyOf(tenant);
        const body = { message: "hi", session_id: sessions.get(tenant), on_busy: "reject" };
        return mostAtOnce(tenant, () => clients.ask("POST", "/api/v2/chat", { body, key }));
      },
      settle,
    },
    {
      name: "one run of a singleton key",
      most: 1,
      least: 1,
      prepare: (tenant) => clients.limit(tenant, {}),
      flood: (tenant) =>
        mostAtOnce(tenant, () => clients.start(tenant, "orch_model", { singleton_key: "one" })),
      settle,
    },
  ];
}
