import { BUCKET, series } from "../../metrics.ts";
import type { HistogramName } from "../../metrics.ts";
import { SCAN_OVERLAP_MS } from "../../timing.ts";
import { pgArray } from "../sql.ts";
import type { PendingQuery, Row, Sql } from "../sql.ts";

/** The most seconds of runs that one call counts, so that it ends in time also after all workers were silent for long. */
const MAX_SECONDS = 600;

/**
 * Counts the runs that were queued or have ended since the last call, each once: the position moves in the same statement as the
 * sums. It stays `SCAN_OVERLAP_MS` behind, because a row may become visible that much later than its time.
 *
 * An end that a client's retry undoes before it is counted is not counted.
 * @param lagMs how far behind the position stays
 * @returns whether there is more to count now
 */
export async function countRuns(sql: Sql, lagMs: number = SCAN_OVERLAP_MS): Promise<boolean> {
  const [row] = await sql<{ has_more: boolean }[]>`
    with last as (
      select counted_to from metric_positions where name = 'runs' for update
    ), span as (
      select counted_to as begins,
        least(now() - ${lagMs} * interval '1 millisecond',
          counted_to + ${MAX_SECONDS} * interval '1 second') as ends
      from last
    ), queued as (
      select tenant_id, orchestration_id from runs, span
      where queued_at > span.begins and queued_at <= span.ends
    ), ended as (
      select tenant_id, status,
        extract(epoch from ended_at - started_at)::float8 as ran,
        extract(epoch from started_at - queued_at)::float8 as waited
      from runs, span where ended_at > span.begins and ended_at <= span.ends
    ), counted as (
      select 'synapse_runs_enqueued_total' as series,
        jsonb_build_object('orch_id', orchestration_id, 'tenant_id', tenant_id) as labels,
        count(*)::float8 as value
      from queued group by orchestration_id, tenant_id
      union all
      select 'synapse_runs_completed_total', jsonb_build_object('status', status, 'tenant_id', tenant_id), count(*)
      from ended group by status, tenant_id
      union all
      ${histogram(sql, "synapse_run_duration_seconds", sql`ran`)}
      union all
      ${histogram(sql, "synapse_run_queue_seconds", sql`waited`)}
    ), saved as (
      insert into metric_counters (source, series, labels, value)
      select '', series, labels, value from counted
      on conflict (source, series, labels) do update set value = metric_counters.value + excluded.value
    )
    update metric_positions set counted_to = greatest(span.ends, counted_to) from span where name = 'runs'
    returning span.ends = span.begins + ${MAX_SECONDS} * interval '1 second' as has_more`;
  return row?.has_more ?? false;
}

/** The buckets, the count and the sum of a histogram over the ended runs, by tenant. */
function histogram(sql: Sql, name: HistogramName, seconds: PendingQuery<Row[]>): PendingQuery<Row[]> {
  const bounds = series[name].buckets.map(String);
  return sql`
    select ${`${name}_bucket`}, jsonb_build_object('tenant_id', tenant_id, ${BUCKET}::text, bound),
      count(*) filter (where bound = '+Inf' or ${seconds} <= nullif(bound, '+Inf')::float8)
    from ended cross join unnest(${pgArray([...bounds, "+Inf"])}::text[]) as bound
    where ${seconds} is not null group by tenant_id, bound
    union all
    select ${`${name}_sum`}, jsonb_build_object('tenant_id', tenant_id), sum(greatest(${seconds}, 0))
    from ended where ${seconds} is not null group by tenant_id`;
}
