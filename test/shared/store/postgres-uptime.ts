/** A Postgres that has just started has received no beats: until 12 s after its start no owner is silent. */
import type { Sql } from "../../../shared/store/sql.ts";
import { SILENT_AFTER_MS } from "../../../shared/timing.ts";
import { until } from "../../services/waiting.ts";

export async function knowsSilentOwners(sql: Sql): Promise<boolean> {
  const [row] = await sql<{ upForMs: number }[]>`
    select extract(epoch from now() - pg_postmaster_start_time())::float8 * 1000 as "upForMs"`;
  return (row?.upForMs ?? 0) > SILENT_AFTER_MS + 1_000;
}

/** Waits for it once in a test run, if at all: the Postgres of the tests starts at the beginning. */
export function untilOwnersCanBeSilent(sql: Sql): Promise<void> {
  return until("Postgres has been up for longer than a silence", () => knowsSilentOwners(sql));
}
