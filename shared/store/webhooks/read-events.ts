import type { RunId } from "../../contracts/ids.ts";
import { ofDays } from "../journal/journal-days.ts";
import type { Sql } from "../sql.ts";

/** Longer event lines are not read for a delivery. A worker sends 64 at once, and holds each body a few times. */
const MAX_EVENT_BYTES = 1024 * 1024;

/**
 * The event lines of a journal entry; null when they have more than 1 MiB, or the entry has been deleted. They are read for
 * one delivery when it is sent: a claim that returned them for 64 deliveries could be of any length.
 */
export async function readEvents(sql: Sql, run: RunId, seq: number): Promise<string | null> {
  const [row] = await sql<{ events: string }[]>`
    select events from journal where run_id = ${run} and ${ofDays(sql, [run])} and seq = ${seq}
      and octet_length(events) <= ${MAX_EVENT_BYTES}`;
  return row?.events ?? null;
}
