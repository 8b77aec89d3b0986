/** What workers have counted, and the sums over the fleet. The statements on runs are in count-runs.ts. */
import { z } from "zod";
import { BUCKET } from "../../metrics.ts";
import type { Incarnation } from "../../contracts/ids.ts";
import type { Sql } from "../sql.ts";

/** The value of one series with these labels. A histogram has a value for each bucket, and one for its sum. */
export const CounterValue = z.object({
  series: z.string().max(200),
  labels: z.record(z.string(), z.string().max(500)),
  value: z.number(),
});
export type CounterValue = z.infer<typeof CounterValue>;

/** The most values that a worker reports. */
export const MAX_VALUES = 20_000;
/** The most combinations of labels of one series that a read returns. Later combinations are added up under `other`. */
const MAX_COMBINATIONS = 1_000;
const OTHER = "other";

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

/**
 * The sums over the fleet: of each series the first thousand combinations of labels, in the order in which they were first seen,
 * and the sum of the others. That order never changes, so a combination that is shown stays shown. The buckets of a histogram are
 * one combination. The number of series bounds the number of rows, so a fleet of any size has each series.
 */
export async function readCounters(sql: Sql): Promise<CounterValue[]> {
  const rows = await sql`
    with fleet as (
      select series, labels - ${BUCKET}::text as combination, labels->${BUCKET}::text as bucket, sum(value) as value,
        min(min(first_at)) over (partition by series, labels - ${BUCKET}::text) as seen_at
      from metric_counters group by series, labels
    ), placed as (
      select series, combination, bucket, value,
        dense_rank() over (partition by series order by seen_at, combination) as place
      from fleet
    ), shown as (
      select series, bucket, value, place,
        case when place <= ${MAX_COMBINATIONS}::bigint then combination else (
          select jsonb_object_agg(label, ${OTHER}::text) from jsonb_object_keys(combination) label) end as labels
      from placed
    )
    select series, case when bucket is null then labels else labels || jsonb_build_object(${BUCKET}::text, bucket) end as labels,
      sum(value)::float8 as value
    -- Not by place: a tenant may have the name of the others, and Prometheus takes one sample of the same labels.
    from shown group by series, shown.labels, bucket order by series, min(place)`;
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
    on conflict (source, series, labels) do update set value = metric_counters.value + excluded.value,
      first_at = least(metric_counters.first_at, excluded.first_at)`;
}
