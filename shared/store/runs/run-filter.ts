import { z } from "zod";
import { RunId, TenantId } from "../../contracts/ids.ts";
import type { RunStatus } from "../../contracts/run.ts";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";

/** Selects runs for a bulk operation. Null: any. `since` (inclusive) and `until` (exclusive) compare with `queued_at`. */
export type RunFilter = {
  tenant: TenantId | null;
  orchestration: string | null;
  statuses: readonly RunStatus[];
  since: Date | null;
  until: Date | null;
};

/** A count stops at this number, so that it need not read all runs. */
const MAX_COUNTED = 100_000;

const SelectedRun = z.object({ run_id: RunId, tenant_id: TenantId });

/** A page of the selected runs, ordered by id, with ids after `after`. */
export async function findRuns(
  sql: Sql,
  filter: RunFilter,
  after: string,
  limit: number,
): Promise<z.infer<typeof SelectedRun>[]> {
  const rows = await sql`
    select run_id, tenant_id from runs where ${conditions(sql, filter)} and run_id > ${after}
    order by run_id limit ${limit}`;
  return rows.map((row) => SelectedRun.parse(row));
}

/** The number of selected runs, 100,000 at most. */
export async function countSelectedRuns(sql: Sql, filter: RunFilter): Promise<number> {
  const [row] = await sql<{ n: number }[]>`
    select count(*)::int as n from (select from runs where ${conditions(sql, filter)} limit ${MAX_COUNTED}) r`;
  return row?.n ?? 0;
}

function conditions(sql: Sql, { tenant, orchestration, statuses, since, until }: RunFilter) {
  return sql`status = any(${pgArray(statuses)}::text[])
    ${tenant === null ? sql`` : sql`and tenant_id = ${tenant}`}
    ${orchestration === null ? sql`` : sql`and orchestration_id = ${orchestration}`}
    ${since === null ? sql`` : sql`and queued_at >= ${since}`}
    ${until === null ? sql`` : sql`and queued_at < ${until}`}`;
}
