import { z } from "zod";
import type { TenantId } from "../../contracts/ids.ts";
import { RunStatus } from "../../contracts/run.ts";
import { pgArray } from "../sql.ts";
import type { PendingQuery, Row, Sql } from "../sql.ts";
import { hasMetadata, mayHaveEntry } from "./metadata-filter.ts";
import type { MetadataEntry } from "./metadata-filter.ts";
import { RunRow, runColumns } from "./read-runs.ts";

/** Selects runs for a list. Null: any. `since` (inclusive) and `until` (exclusive) compare with `queued_at`. */
export type RunListFilter = {
  tenant: TenantId | null;
  orchestration: string | null;
  session: string | null;
  statuses: readonly RunStatus[] | null;
  since: Date | null;
  until: Date | null;
  metadata: readonly MetadataEntry[];
};

/** A place in a list: the time of a run in microseconds since 1970, and its id. */
export type RunListPosition = { queuedAtUs: number; run_id: string };

/** `next`: where the next page begins; null: this is the last page. */
export type RunListPage = { runs: ListedRun[]; next: RunListPosition | null };

/**
 * How many of the newest runs one page examines when it has a filter that no index serves. Such a page may have fewer runs
 * than asked for, even none, and a next page nevertheless: the work of a request is bounded, whatever the filter is.
 */
export const EXAMINED = 2_000;

/** A page ends before its runs have more metadata than this, after one run at the earliest. */
const PAGE_BYTES = 1024 * 1024;

/** Columns that are the same in each row: the oldest examined run, how many were examined, and how many matched (at most the limit and one more). */
const Examined = z.object({
  oldest_us: z.number(),
  oldest_run: z.string(),
  examined: z.number(),
  matched: z.number().nullable(),
});

/** A page of runs, the newest first. `limit`: 200 at most. */
export async function listRuns(
  sql: Sql,
  filter: RunListFilter,
  after: RunListPosition | null,
  limit: number,
): Promise<RunListPage> {
  const rows = await listStatement(sql, filter, after, limit);
  const [first] = rows;
  if (!first) return { runs: [], next: null };
  const { oldest_us, oldest_run, examined, matched } = Examined.parse(first);
  const page = rows.filter((row) => row["run_id"] !== null).map((row) => ListedRun.parse(row));
  const runs = page.filter((run) => hasMetadata(run.metadata, filter.metadata));
  const last = page.at(-1);
  if (last && page.length < (matched ?? 0)) {
    return { runs, next: { queuedAtUs: last.queued_at_us, run_id: last.run_id } };
  }
  const isCut = examined === EXAMINED;
  return { runs, next: isCut ? { queuedAtUs: oldest_us, run_id: oldest_run } : null };
}

/** `asks`: a question of the run is open. */
const ListedRun = RunRow.extend({ queued_at_us: z.number(), asks: z.boolean() });
export type ListedRun = z.infer<typeof ListedRun>;

/**
 * The statement of a page. Its inner limits are literals: for an unknown limit the planner expects a tenth of the table,
 * and sorts it.
 */
export function listStatement(
  sql: Sql,
  filter: RunListFilter,
  after: RunListPosition | null,
  limit: number,
): PendingQuery<Row[]> {
  const order = sql`order by queued_at desc, run_id desc`;
  const residual = residualOf(sql, filter);
  const limited = residual === null ? sql`limit 201` : sql`limit 2000`;
  return sql`
    with examined as (
      select * from ${newest(sql, filter, after, limited)} newest
      order by examined_at desc, examined_run desc ${limited}
    ), oldest as (
      select *, (select count(*)::int from examined) as examined
      from examined order by examined_at, examined_run limit 1
    ), matched as (
      select *, count(*) over ()::int as matched, row_number() over (${order}) as place,
        sum(shown_bytes) over (${order}) - shown_bytes as bytes_before
      from (
        select ${runColumns(sql)}, ${microseconds(sql, sql`queued_at`)} as queued_at_us, queued_at,
          ended_at is null and exists (
            select from waits w where w.run_id = runs.run_id and w.kind = 'human' and w.answered_at is null) as asks,
          octet_length(metadata) + coalesce(octet_length(error), 0) as shown_bytes
        from examined e
        -- The limit makes the planner look each run up by its key.
        cross join lateral (select * from runs where run_id = e.examined_run limit 1) runs
        ${residual === null ? sql`` : sql`where ${residual}`}
        ${order} limit ${limit + 1}
      ) of_page
    )
    select ${microseconds(sql, sql`o.examined_at`)} as oldest_us, o.examined_run as oldest_run, o.examined, m.*
    from oldest o
    left join matched m on m.place <= ${limit} and m.bytes_before < ${PAGE_BYTES}
    order by m.place`;
}

/** Where a list begins: in the index of a session, or in the index of each status, whose newest runs are merged. */
function newest(
  sql: Sql,
  filter: RunListFilter,
  after: RunListPosition | null,
  limited: PendingQuery<Row[]>,
): PendingQuery<Row[]> {
  const { tenant, session, orchestration, statuses } = filter;
  const range = (columns: readonly string[], values: PendingQuery<Row[]>) =>
    sql`(${inRange(sql, filter, after, columns, values)} ${limited})`;
  if (tenant !== null && session !== null) {
    return range(["tenant_id", "session_id"], sql`${tenant}::text, ${session}::text`);
  }
  const ofStatus =
    tenant === null
      ? range(["status"], sql`s.status`)
      : orchestration === null
        ? range(["tenant_id", "status"], sql`${tenant}::text, s.status`)
        : range(
            ["tenant_id", "orchestration_id", "status"],
            sql`${tenant}::text, ${orchestration}::text, s.status`,
          );
  return sql`
    (select newest.* from unnest(${pgArray(statuses ?? RunStatus.options)}::text[]) s(status)
    cross join lateral ${ofStatus} newest)`;
}

/**
 * The newest runs with these values in these columns, which are the first ones of an index.
 *
 * The values are compared as one row with the time, not each for itself: the planner then reads the index in its order. For
 * `tenant_id = $1` it estimates the runs of an average tenant, finds that they are few, and sorts them; a tenant with a
 * million runs waits for that.
 */
function inRange(
  sql: Sql,
  { since, until }: RunListFilter,
  after: RunListPosition | null,
  names: readonly string[],
  values: PendingQuery<Row[]>,
): PendingQuery<Row[]> {
  const columns = names.map((name) => sql`${sql(name)}`).reduce((list, name) => sql`${list}, ${name}`);
  const descending = names
    .map((name) => sql`${sql(name)} desc`)
    .reduce((list, name) => sql`${list}, ${name}`);
  const isAfterUntil = after === null || (until !== null && until.getTime() * 1_000 < after.queuedAtUs);
  const before = isAfterUntil
    ? sql`${until?.toISOString() ?? "infinity"}::text::timestamptz, ''`
    : sql`timestamptz 'epoch' + ${after.queuedAtUs}::float8 * interval '1 microsecond', ${after.run_id}::text`;
  return sql`
    select run_id as examined_run, queued_at as examined_at from runs
    where (${columns}, queued_at) >= (${values}, ${since?.toISOString() ?? "-infinity"}::text::timestamptz)
      and (${columns}, queued_at, run_id) < (${values}, ${before})
      ${names.includes("session_id") ? sql`and session_id is not null` : sql``}
    order by ${descending}, queued_at desc, run_id desc`;
}

/** The conditions that the index of `newest` does not have; null: there is none. */
function residualOf(sql: Sql, filter: RunListFilter): PendingQuery<Row[]> | null {
  const { tenant, session, orchestration, statuses, metadata } = filter;
  const bySession = tenant !== null && session !== null;
  const conditions = [
    bySession && statuses !== null && sql`status = any(${pgArray(statuses)}::text[])`,
    orchestration !== null && (bySession || tenant === null) && sql`orchestration_id = ${orchestration}`,
    session !== null && !bySession && sql`session_id = ${session}`,
    ...metadata.map((entry) => mayHaveEntry(sql, entry)),
  ].filter((condition) => condition !== false);
  if (conditions.length === 0) return null;
  return conditions.reduce((all, condition) => sql`${all} and ${condition}`);
}

function microseconds(sql: Sql, time: PendingQuery<Row[]>): PendingQuery<Row[]> {
  return sql`(extract(epoch from ${time}) * 1000000)::float8`;
}
