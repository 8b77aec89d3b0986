import { RunId } from "../../contracts/ids.ts";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";

/**
 * Of the objects with these keys, those of runs that retention has deleted, and those of runs that ended longer ago than the tenant's
 * `artifacts_days`. The rows of such files are deleted here; the caller deletes the objects. A later call finds objects that are left.
 */
export async function takeExpiredObjects(sql: Sql, keys: readonly string[]): Promise<string[]> {
  const parts = keys.flatMap((key) => {
    const [tenant = "", first] = key.split("/");
    const run = RunId.safeParse(first);
    return run.success ? [{ key, tenant, run: run.data }] : [];
  });
  if (parts.length === 0) return [];
  const rows = await sql<{ key: string }[]>`
    with k as materialized (
      select * from unnest(
        ${pgArray(parts.map((part) => part.key))}::text[], ${pgArray(parts.map((part) => part.tenant))}::text[],
        ${pgArray(parts.map((part) => part.run))}::text[]
      ) as k(key, tenant, run)
    ), expired as materialized (
      select k.key, k.run from k join deleted_runs d on d.run_id = k.run and d.tenant_id = k.tenant
      union all
      select k.key, k.run from k join runs r on r.run_id = k.run and r.tenant_id = k.tenant
      join tenants t on t.tenant_id = r.tenant_id
      where r.ended_at < now() - (t.retention->>'artifacts_days')::int * interval '1 day'
    ), deleted_rows as (
      delete from artifacts a using expired e where a.run_id = e.run and a.object_key = e.key
    )
    select key from expired`;
  return rows.map(({ key }) => key);
}
