import { z } from "zod";
import { RunId, TenantId } from "../../contracts/ids.ts";
import type { RunStatus } from "../../contracts/run.ts";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";

/** Which runs are meant. Null: any. `since` (included) and `until` (not) are about when they were queued. */
export type RunFilter = {
  tenant: TenantId | null;
  orchestration: string | null;
  statuses: readonly RunStatus[];
  since: Date | null;
  until: Date | null;
};

/** A count stops here: who is asked "how many" need not read them all. */
const MOST_COUNTED = 100_000;

const Found = z.object({ run_id: RunId, tenant_id: TenantId });

/** A page of the runs that are meant, by id after `after`. */
export async function findRuns(
  sql: Sql,
  filter: RunFilter,
  after: string,
  limit: number,
): Promise<z.infer<typeof Found>[]> {
  const rows = await sql`
    select run_id, tenant_id from runs where ${meant(sql, filter)} and run_id > ${after}
    order by run_id limit ${limit}`;
  return rows.map((row) => Found.parse(row));
}

/** How many are meant, up to 100,000. */
export async function countRuns(sql: Sql, filter: RunFilter): Promise<number> {
  const [row] = await sql<{ n: number }[]>`
    select count(*)::int as n from (select from runs where ${meant(sql, filter)} limit ${MOST_COUNTED}) r`;
  return row?.n ?? 0;
}

function meant(sql: Sql, { tenant, orchestration, statuses, since, until }: RunFilter) {
  return sql`status = any(${pgArray(statuses)}::text[])
    ${tenant === null ? sql`` : sql`and tenant_id = ${tenant}`}
    ${orchestration === null ? sql`` : sql`and orchestration_id = ${orchestration}`}
    ${since === null ? sql`` : sql`and queued_at >= ${since}`}
    ${until === null ? sql`` : sql`and queued_at < ${until}`}`;
}
