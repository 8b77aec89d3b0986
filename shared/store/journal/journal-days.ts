import { baseOf } from "../../contracts/ids.ts";
import type { RunId } from "../../contracts/ids.ts";
import type { PendingQuery, Row, Sql } from "../sql.ts";

const DAY_MS = 86_400_000;

/**
 * A condition on `journal`, or an alias of it: the entry's run was accepted on a day between the first and the last day of these runs.
 * With it Postgres reads, and locks, the partitions of these days alone (docs/protocol.md 7.15). The days are literals, because all plans are generic: with
 * parameters each execution would lock every partition. So a statement has one text a day.
 */
export function ofDays(sql: Sql, runs: readonly RunId[], journal = "journal"): PendingQuery<Row[]> {
  const days = runs.map((run) => Math.floor(Number(baseOf(run)) / DAY_MS));
  const first = days.reduce((least, day) => Math.min(least, day), Infinity);
  const last = days.reduce((most, day) => Math.max(most, day), -Infinity);
  if (days.length === 0) return sql`false`;
  const condition = `right(${journal}.run_id, 13) >= '${baseAt(first)}' and right(${journal}.run_id, 13) < '${baseAt(last + 1)}'`;
  // A template of one text. The statements of an edge have templates alone (`remoteSql` in edge/clients/database.ts).
  return sql(Object.assign([condition], { raw: [condition] }));
}

function baseAt(day: number): string {
  return String(day * DAY_MS).padStart(13, "0");
}

/**
 * Adds the partitions of the journal's coming days, and drops one of a past day in which almost nothing is left
 * (docs/protocol.md 7.15).
 * @returns true when another partition may be left to drop
 */
export async function keepJournalDays(sql: Sql): Promise<boolean> {
  // An edge takes a statement that begins with `select` for one that only reads; this one begins with `with`.
  const [row] = await sql<{ changed: number }[]>`
    with kept as materialized (select keep_journal_days() as changed) select changed from kept`;
  return (row?.changed ?? 0) > 0;
}
