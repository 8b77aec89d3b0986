import type { Sql } from "../sql.ts";

/** The most batches that one call examines. */
const BATCH = 1_000;

/**
 * Deletes batches that no run belongs to any more, 30 days after their beginning at the earliest (docs/protocol.md 7.18). A batch with
 * runs is not examined again until retention deletes one of them.
 * @returns true when more may be left
 */
export async function deleteBatches(sql: Sql): Promise<boolean> {
  const [row] = await sql<{ examined: number }[]>`
    with due as materialized (
      -- A plain "exists" may be planned as one read of all runs.
      select b.batch_id, b.kept_until, r.has_runs from (
        select batch_id, kept_until from batches where kept_until < now() order by kept_until limit ${BATCH}
      ) b cross join lateral (
        select count(*) > 0 as has_runs from (select from runs where batch_id = b.batch_id limit 1) one
      ) r
    ), deleted as (
      delete from batches b using due d
      where b.batch_id = d.batch_id and not d.has_runs and b.kept_until = d.kept_until
    ), kept as (
      -- Retention moves the time when it deletes a run, so a deletion at the same moment is not missed.
      update batches b set kept_until = null from due d
      where b.batch_id = d.batch_id and d.has_runs and b.kept_until = d.kept_until
    )
    select count(*)::int as examined from due`;
  return row?.examined === BATCH;
}
