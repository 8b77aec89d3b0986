import { z } from "zod";
import { ArchivePlace } from "../../archive/read-archive.ts";
import { RunId, SessionId, baseOf } from "../../contracts/ids.ts";
import type { RunToWatch } from "../runs/read-runs.ts";
import { readRunsToWatch } from "../runs/read-runs.ts";
import type { EntryLines } from "../../events/lines.ts";
import { placeJson } from "../archive/archive-journals.ts";
import type { Sql } from "../sql.ts";

/** The session that a run is a turn of; null: the run is no chat turn. */
export async function sessionOfTurn(sql: Sql, run: RunId): Promise<SessionId | null> {
  const [row] = await sql`select chat_session from runs where run_id = ${run}`;
  return SessionId.nullable().parse(row?.["chat_session"] ?? null);
}

/** Which turn of a session: the newest, the one with a run's id or with a base, or the first one after a base. */
export type TurnChoice =
  | { is: "newest" }
  | { is: "run"; run: RunId }
  | { is: "base" | "after"; base: string };

/** A turn of a session; null: the session has no such turn. */
export async function readTurn(sql: Sql, session: SessionId, choice: TurnChoice): Promise<RunToWatch | null> {
  const base = sql`right(run_id, 13)`;
  const which = {
    newest: () => sql`order by ${base} desc`,
    run: () => (choice.is === "run" ? sql`and run_id = ${choice.run}` : sql``),
    base: () => (choice.is === "base" ? sql`and ${base} = ${choice.base}` : sql``),
    after: () => (choice.is === "after" ? sql`and ${base} > ${choice.base} order by ${base}` : sql``),
  }[choice.is]();
  const [row] = await sql`select run_id from runs where chat_session = ${session} ${which} limit 1`;
  if (!row) return null;
  const [turn] = await readRunsToWatch(sql, null, [RunId.parse(row["run_id"])]);
  return turn ?? null;
}

/** An entry with its run. */
const TurnEntry = z.object({ run_id: RunId, seq: z.number(), events_n: z.number(), events: z.string() });
export type TurnEntry = EntryLines & { run_id: RunId };

/** The bytes after which a page takes no further entry. */
export const TURN_PAGE_BYTES = 256 * 1024;

/** A page of the turns of a session; `archived`: the page is in this journal, after this number of its events. */
export type TurnPage = { entries: TurnEntry[] } | { archived: ArchivePlace; after: number };

/**
 * Event lines of the turns of a session, in order, after event number `seq` of the turn with this base. Empty: there are none. A page
 * ends before a turn whose journal is in the archive.
 */
export async function readTurnEntries(
  sql: Sql,
  session: SessionId,
  after: { base: string; seq: number },
  limit: number,
): Promise<TurnPage> {
  const follows = sql`r.chat_session = ${session} and right(r.run_id, 13) >= ${after.base}`;
  const rows = await sql`
    (select run_id, seq, events_n, events, null::json as place from (
      select *, sum(octet_length(events)) over (order by base, seq) - octet_length(events) as bytes_before from (
        select j.run_id, j.seq, j.events_n, j.events, right(r.run_id, 13) as base
        from runs r join journal j on j.run_id = r.run_id and right(j.run_id, 13) = right(r.run_id, 13)
        where ${follows} and (right(r.run_id, 13), j.seq) > (${after.base}, ${after.seq}::int) and r.archive_segment is null
        order by right(r.run_id, 13), j.seq limit ${limit}) j) page
    where bytes_before < ${TURN_PAGE_BYTES} order by base, seq)
    union all
    (select run_id, 0, 0, '', ${placeJson(sql)} from runs r
    where ${follows} and (right(r.run_id, 13), r.event_seq) > (${after.base}, ${after.seq}::int)
      and r.archive_segment is not null
    order by right(r.run_id, 13) limit 1)`;
  const place = rows.at(-1)?.["place"] ?? null;
  const entries = rows.flatMap((row) => (row["place"] === null ? [TurnEntry.parse(row)] : []));
  if (place === null) return { entries };
  const archived = ArchivePlace.parse(place);
  const base = baseOf(archived.run_id);
  const before = entries.filter(({ run_id }) => baseOf(run_id) < base);
  if (before.length > 0) return { entries: before };
  return { archived, after: base === after.base ? after.seq : 0 };
}
