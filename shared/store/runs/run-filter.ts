import { z } from "zod";
import { RunId } from "../../contracts/ids.ts";
import type { TenantId } from "../../contracts/ids.ts";
import type { RunStatus } from "../../contracts/run.ts";
import { pgArray } from "../sql.ts";
import type { PendingQuery, Row, Sql } from "../sql.ts";
import { hasEntry } from "./metadata-filter.ts";
import type { MetadataEntry } from "./metadata-filter.ts";

/** Selects runs for a bulk operation. Null: any. `since` (inclusive) and `until` (exclusive) compare with `queued_at`. */
export type RunFilter = {
  tenant: TenantId | null;
  orchestration: string | null;
  statuses: readonly RunStatus[];
  since: Date | null;
  until: Date | null;
  metadata: readonly MetadataEntry[];
};

/** A count examines this many runs at most, so that it need not read all. */
const MAX_COUNTED = 100_000;

/** How many runs of the other conditions one page examines for metadata, which no index serves. */
export const EXAMINED_FOR_METADATA = 2_000;

const SelectedRun = z.object({ run_id: RunId.nullable(), last_examined: RunId.nullable() });

/** `next`: the id after which the next page begins; null: this is the last page. */
export type SelectedRuns = { runs: RunId[]; next: RunId | null };

/**
 * A page of the selected runs, ordered by id, with ids after `after`. With a filter of metadata it may have fewer runs than `limit`, even
 * none, and a next page nevertheless.
 */
export async function findRuns(
  sql: Sql,
  filter: RunFilter,
  after: string,
  limit: number,
): Promise<SelectedRuns> {
  const examined = filter.metadata.length === 0 ? limit : EXAMINED_FOR_METADATA;
  const rows = await sql`
    with examined as (
      select run_id, metadata from runs where ${conditions(sql, filter)} and run_id > ${after}
      order by run_id limit ${examined}
    )
    select last.run_id as last_examined, selected.run_id
    from (select case when count(*) = ${examined} then max(run_id) end as run_id from examined) last
    left join lateral (
      select run_id from examined where ${hasEntries(sql, filter)} order by run_id limit ${limit}
    ) selected on true
    order by selected.run_id`;
  const page = rows.map((row) => SelectedRun.parse(row));
  const runs = page.flatMap(({ run_id }) => run_id ?? []);
  return { runs, next: (runs.length === limit ? runs.at(-1) : page[0]?.last_examined) ?? null };
}

/** The number of selected runs, among 100,000 that meet the conditions other than metadata. */
export async function countSelectedRuns(sql: Sql, filter: RunFilter): Promise<number> {
  const [row] = await sql<{ n: number }[]>`
    select count(*)::int as n
    from (select metadata from runs where ${conditions(sql, filter)} limit ${MAX_COUNTED}) r
    where ${hasEntries(sql, filter)}`;
  return row?.n ?? 0;
}

function conditions(sql: Sql, { tenant, orchestration, statuses, since, until }: RunFilter) {
  return sql`status = any(${pgArray(statuses)}::text[])
    ${tenant === null ? sql`` : sql`and tenant_id = ${tenant}`}
    ${orchestration === null ? sql`` : sql`and orchestration_id = ${orchestration}`}
    ${since === null ? sql`` : sql`and queued_at >= ${since}`}
    ${until === null ? sql`` : sql`and queued_at < ${until}`}`;
}

function hasEntries(sql: Sql, { metadata }: RunFilter): PendingQuery<Row[]> {
  return metadata
    .map((entry) => hasEntry(sql, entry))
    .reduce((all, one) => sql`${all} and ${one}`, sql`true`);
}
