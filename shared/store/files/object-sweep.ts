import type { Sql } from "../sql.ts";

/** How often a sweep begins. */
const PERIOD = "6 hours";

/**
 * The key after which the sweep of the object store goes on; null: none is under way or due. A sweep that is due begins with this call. The
 * position is stored, so that another reconciler goes on where the one before it has stopped.
 */
export async function readSweep(sql: Sql): Promise<string | null> {
  const [sweep] = await sql<{ after_key: string }[]>`
    update object_sweep set began_at = coalesce(began_at, now())
    where began_at is not null or next_at <= now()
    returning after_key`;
  return sweep?.after_key ?? null;
}

/** What a pass of the sweep has done. */
export type SweptPage = {
  /** The last key that it has read; null: there are no more keys. */
  last: string | null;
  /** Whether it has deleted all objects of this page that it was to delete. */
  isWhole: boolean;
};

/** Moves the sweep on. After the last key it ends, and the next one begins six hours later. */
export async function saveSweep(sql: Sql, { last, isWhole }: SweptPage): Promise<null> {
  if (last === null) {
    await sql`
      update object_sweep set began_at = null, after_key = '', is_whole = true, next_at = now() + ${PERIOD}::text::interval,
        whole_since = case when is_whole then began_at else coalesce(whole_since, '-infinity') end
      where began_at is not null`;
    return null;
  }
  await sql`
    update object_sweep set after_key = ${last}, is_whole = is_whole and ${isWhole} where began_at is not null`;
  return null;
}

/**
 * The time before which deleted runs can be forgotten, because no object of them is left: two days before a sweep that deleted all objects
 * it was to delete (it leaves objects of less than a day alone), and seven days ago at the latest. Without an object store nothing is
 * swept: then seven days ago. A store that was taken away: a year ago.
 */
export function sweptBefore(sql: Sql) {
  return sql`(
    select case when began_at is null and whole_since is null then now() - interval '7 days'
      else greatest(least(now() - interval '7 days', coalesce(whole_since, '-infinity') - interval '2 days'), now() - interval '1 year') end
    from object_sweep)`;
}
