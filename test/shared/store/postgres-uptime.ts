/** A Postgres that has just started has received no beats: no owner is silent before it has been up for as long. */
import type { Sql } from "../../../shared/store/sql.ts";
import { until } from "../../services/waiting.ts";

/** What the workers of these tests say in their beats, and the default of the column. */
const SILENT_AFTER_MS = 12_000;

async function knowsSilentOwners(sql: Sql): Promise<boolean> {
  const [row] = await sql<{ upForMs: number }[]>`
    select extract(epoch from now() - pg_postmaster_start_time())::float8 * 1000 as "upForMs"`;
  return (row?.upForMs ?? 0) > SILENT_AFTER_MS + 1_000;
}

/** Waits until Postgres has been up for as long as a silence: once in a test run at most, because it starts at the beginning. */
export function untilOwnersCanBeSilent(sql: Sql): Promise<void> {
  return until("Postgres has been up for longer than a silence", () => knowsSilentOwners(sql));
}
