/** Limits on how many requests and runs of a tenant begin in a time. */
import { until } from "../../services/waiting.ts";
import type { Clients } from "./clients.ts";
import type { LimitRow } from "./limit-row.ts";

const PER_SECOND = 10;
const PER_MINUTE = 12;
/** After this time a run no longer counts in the tenant's minute. */
const MINUTE_MS = 61_000;

export function rateRows(clients: Clients): LimitRow[] {
  const { sql } = clients;
  const floodedMs = new Map<string, number>();
  const noteFlood = (tenant: string) => {
    floodedMs.set(tenant, performance.now());
  };
  const passed = (tenant: string, ms: number) =>
    until(`${ms} ms have passed`, () => performance.now() - (floodedMs.get(tenant) ?? 0) > ms);
  const startLater = (tenant: string) => clients.start(tenant, "orch_paid", { delay_seconds: 3_600 });

  return [
    {
      // In t seconds at most (t + 1) times the limit may start. Only starts beyond that number pass the limit.
      name: "requests_per_second",
      most: PER_SECOND,
      least: PER_SECOND,
      async prepare(tenant) {
        await clients.limit(tenant, { requests_per_second: PER_SECOND });
        await clients.keyOf(tenant);
      },
      async flood(tenant) {
        const beganMs = performance.now();
        await clients.fifty(() => startLater(tenant));
        const seconds = (performance.now() - beganMs) / 1_000;
        noteFlood(tenant);
        const started = await clients.open(tenant);
        return Math.min(started, PER_SECOND) + Math.max(0, started - Math.floor(PER_SECOND * (seconds + 1)));
      },
      async settle(tenant) {
        await clients.cancelAll(tenant);
        await passed(tenant, 1_000);
      },
    },
    {
      name: "runs_per_minute",
      most: PER_MINUTE,
      least: PER_MINUTE,
      prepare: (tenant) => clients.limit(tenant, { runs_per_minute: PER_MINUTE }),
      async flood(tenant) {
        await clients.fifty(() => startLater(tenant));
        noteFlood(tenant);
        return clients.count(sql`
          select count(*)::int as n from runs
          where tenant_id = ${tenant} and queued_at > clock_timestamp() - interval '60 s'`);
      },
      // A run that has ended still counts, until its minute has passed.
      async settle(tenant) {
        await clients.cancelAll(tenant);
        await passed(tenant, MINUTE_MS);
      },
    },
  ];
}
