/** What workers have counted, and the sums over the fleet. The statements on runs are in count-runs.ts. */
import { z } from "zod";
import type { Incarnation } from "../../contracts/ids.ts";
import type { Sql } from "../sql.ts";

/** The value of one series with these labels. A histogram has a value for each bucket, and one for its sum. */
export const CounterValue = z.object({
  series: z.string().max(200),
  labels: z.record(z.string(), z.string().max(500)),
  value: z.number(),
});
export type CounterValue = z.infer<typeof CounterValue>;

/** The most values that a worker reports, and that a read returns. */
export const MAX_VALUES = 20_000;

/**
 * Saves what a worker has counted since it started. The values replace its earlier ones, so a repeated or late report counts
 * nothing twice.
 */
export async function saveCounters(
  sql: Sql,
  source: Incarnation,
  values: readonly CounterValue[],
): Promise<null> {
  if (values.length === 0) return null;
  const rows = JSON.stringify(values.slice(0, MAX_VALUES));
  await sql`
    insert into metric_counters (source, series, labels, value)
    select ${source}, series, labels, sum(value)
    from jsonb_to_recordset(${rows}::text::jsonb) as reported (series text, labels jsonb, value float8)
    group by series, labels
    on conflict (source, series, labels) do update set value = greatest(metric_counters.value, excluded.value)`;
  return null;
}

/** The sums over the fleet, in the order in which their labels were first seen. */
export async function readCounters(sql: Sql): Promise<CounterValue[]> {
  const rows = await sql`
    select series, labels, sum(value)::float8 as value from metric_counters
    group by series, labels order by series, min(first_at), labels limit ${MAX_VALUES}`;
  return z.array(CounterValue).parse(rows);
}

/** Adds the values of workers that have no row any more to the common sums. Those of tenants that are purged are dropped. */
export async function foldCounters(sql: Sql): Promise<void> {
  await sql`
    with gone as (
      delete from metric_counters c
      where source <> '' and not exists (select from workers w where w.incarnation = c.source)
      returning series, labels, value, first_at
    )
    insert into metric_counters (source, series, labels, value, first_at)
    select '', series, labels, sum(value), min(first_at) from gone
    where not exists (select from tenants t where t.tenant_id = labels->>'tenant_id' and t.purged_at is not null)
    group by series, labels
    on conflict (source, series, labels) do update set value = metric_counters.value + excluded.value`;
}
