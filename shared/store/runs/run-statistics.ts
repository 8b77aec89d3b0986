import { z } from "zod";
import type { TenantId } from "../../contracts/ids.ts";
import { RunStatus } from "../../contracts/run.ts";
import type { Sql } from "../sql.ts";

const RunStatistics = z.object({
  status_counts: z.record(RunStatus, z.number()),
  runs_today: z.number(),
  cost_micro_usd_today: z.number(),
  avg_cost_micro_usd: z.number().nullable(),
  avg_duration_seconds: z.number().nullable(),
  workers_online: z.number(),
});
export type RunStatistics = z.infer<typeof RunStatistics>;

/**
 * Figures of a tenant's runs; null: of all. A day is one of UTC. The cost of a request is bounded: it counts up to a million runs
 * of each status, adds up the latest 100,000 runs of today, and averages the latest 10,000 completed runs. The total of a run
 * contains those of the children that it waits for, so these children do not count in a sum of money.
 */
export async function readRunStatistics(sql: Sql, tenant: TenantId | null): Promise<RunStatistics> {
  const ofTenant = tenant === null ? sql`` : sql`and tenant_id = ${tenant}`;
  const [row] = await sql`
    with today as (
      select count(*)::int as runs, coalesce(sum(cost_micro_usd) filter (where parent_wait_id is null), 0)::float8 as cost from (
        select r.cost_micro_usd, r.parent_wait_id from unnest(string_to_array(${RunStatus.options.join(",")}, ',')) s(status)
        cross join lateral (
          select cost_micro_usd, parent_wait_id, queued_at from runs
          where runs.status = s.status ${ofTenant} and queued_at >= date_trunc('day', now() at time zone 'utc') at time zone 'utc'
          order by queued_at desc limit 100000) r
        order by r.queued_at desc limit 100000) t
    ), completed as (
      select avg(cost_micro_usd)::float8 as cost, avg(extract(epoch from ended_at - started_at))::float8 as seconds from (
        select cost_micro_usd, started_at, ended_at from runs where status = 'completed' ${ofTenant}
        order by queued_at desc limit 10000) c
    )
    select t.runs as runs_today, t.cost as cost_micro_usd_today, c.cost as avg_cost_micro_usd,
      c.seconds as avg_duration_seconds,
      (select json_object_agg(s.status, (
          select count(*) from (select from runs where runs.status = s.status ${ofTenant} limit 1000000) n))
        from unnest(string_to_array(${RunStatus.options.join(",")}, ',')) s(status)) as status_counts,
      (select count(*)::int from workers w where status = 'online' and silent_at(w) > now()) as workers_online
    from today t cross join completed c`;
  return RunStatistics.parse(row);
}
