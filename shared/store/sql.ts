import type { PendingQuery, Row, Sql } from "postgres";
import { POSTGRES_CONNECT_MS } from "../timing.ts";

export type { PendingQuery, Row, Sql };

/**
 * Options of every connection. `fetch_types` would ask the server for its array types before the first query, one
 * more round trip for each request of the edge; arrays are written by `pgArray` instead.
 */
export const connectionOptions = {
  fetch_types: false,
  // Seconds.
  connect_timeout: POSTGRES_CONNECT_MS / 1_000,
  // Seconds between attempts to connect, 0.5 at most. By default they grow to 20, so that queries would
  // wait for up to 20 s after Postgres is reachable again.
  backoff: (attempts: number) => Math.min(0.05 * 2 ** attempts, 0.5),
  onnotice: () => {},
} as const;

/**
 * A Postgres array literal, for `${pgArray(values)}::text[]`. Null stays null; a NUL character, which text cannot hold,
 * becomes U+FFFD (JSON text never has one).
 */
export function pgArray(values: Iterable<string | number | null>): string {
  let literal = "";
  for (const value of values) {
    if (literal !== "") literal += ",";
    if (value === null) literal += "NULL";
    else if (typeof value === "number") literal += value;
    else literal += `"${escape(value)}"`;
  }
  return `{${literal}}`;
}

/** Escapes a text for an array literal. Three replacements are twice as fast as one regular expression, and this is the most expensive line of a flush. */
function escape(text: string): string {
  return text.replaceAll("\0", "\uFFFD").replaceAll("\\", "\\\\").replaceAll('"', '\\"');
}

/**
 * The same rows for a from-list, whose number the planner estimates at a tenth. So it reads the tables that are joined with them by key.
 *
 * Postgres estimates ten elements for an array that it does not know, and for ten rows it reads a small table from end
 * to end. It keeps that plan while the table grows, until the next analyze: a flush took twice as long at 300 runs, and
 * the time grew with their number. For an unknown limit Postgres estimates a tenth of the rows. This limit is null,
 * which is none.
 */
export function boundedRows(sql: Sql, rows: PendingQuery<Row[]>): PendingQuery<Row[]> {
  return sql`(select * from (${rows}) of_any_number limit ${null}::bigint)`;
}
