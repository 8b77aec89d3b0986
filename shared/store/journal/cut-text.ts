import type { RunId } from "../../contracts/ids.ts";
import type { Sql } from "../sql.ts";
import { ofDays } from "./journal-days.ts";

/** How many of the newest entries are read, and the most bytes of their events. */
const MAX_ENTRIES = 500;
const MAX_BYTES = 1024 * 1024;

/**
 * The event lines that may hold the text of an answer which a crash has cut off: those of entries of attempts before `attempt`,
 * after the last checkpoint of the step at `path`. Of a text beyond the bounds, the end is returned.
 */
export async function readCutText(sql: Sql, run: RunId, attempt: number, path: string): Promise<string> {
  const [row] = await sql<{ lines: string | null }[]>`
    with newest as materialized (
      select seq, kind, step_path, attempt, events, sum(octet_length(events)) over (order by seq desc) as bytes
      from (
        select seq, kind, step_path, attempt, events from journal where run_id = ${run} and ${ofDays(sql, [run])} order by seq desc limit ${MAX_ENTRIES}
      ) j
    )
    select string_agg(events, E'\n' order by seq) as lines from newest
    where attempt < ${attempt} and bytes <= ${MAX_BYTES} and position('"llm_' in events) > 0 and seq > coalesce((
      select max(seq) from newest
      where kind in ('end', 'rewind') or (step_path = ${path} and kind in ('step', 'turn', 'park'))), 0)`;
  return row?.lines ?? "";
}
