import type { Sql } from "../sql.ts";

/** The most uses that one call examines. */
const BATCH = 5_000;

/**
 * Deletes the uses of uploads by runs that were not accepted: the row of a use is written before its run. Each use is examined once, a day
 * after its run was to begin.
 * @returns true when more may be left
 */
export async function deleteUnusedUses(sql: Sql): Promise<boolean> {
  const [row] = await sql<{ examined: number }[]>`
    with due as materialized (
      -- A plain "exists" may be planned as one read of all runs.
      select u.run_id, u.upload_id, r.is_run from (
        select run_id, upload_id from upload_uses
        where not checked
          and right(run_id, 13) < lpad((extract(epoch from now() - interval '1 day') * 1000)::bigint::text, 13, '0')
        order by right(run_id, 13) limit ${BATCH}
      ) u cross join lateral (
        select count(*) > 0 as is_run from (select from runs where run_id = u.run_id limit 1) one
      ) r
    ), deleted as (
      delete from upload_uses u using due d where u.run_id = d.run_id and u.upload_id = d.upload_id and not d.is_run
    ), found as (
      update upload_uses u set checked = true from due d
      where u.run_id = d.run_id and u.upload_id = d.upload_id and d.is_run
    )
    select count(*)::int as examined from due`;
  return row?.examined === BATCH;
}
