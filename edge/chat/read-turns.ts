import { entriesFrom } from "../../shared/archive/read-archive.ts";
import type { SessionId } from "../../shared/contracts/ids.ts";
import { TURN_PAGE_BYTES, readTurnEntries } from "../../shared/store/chat/turns.ts";
import type { TurnEntry } from "../../shared/store/chat/turns.ts";
import type { Services } from "../services.ts";

/**
 * At most `limit` entries of the turns of a session, in order, with the event lines after event number `seq` of the turn with this
 * base. They are read from Postgres or the archive. Empty: no event follows.
 * @throws AppError `artifacts_away` when an archived turn cannot be read now
 */
export async function readTurns(
  { sql, artifacts }: Pick<Services, "sql" | "artifacts">,
  session: SessionId,
  after: { base: string; seq: number },
  limit: number,
): Promise<TurnEntry[]> {
  const page = await readTurnEntries(sql, session, after, limit);
  if ("entries" in page) return page.entries;
  const { run_id } = page.archived;
  const size = { entries: limit, bytes: TURN_PAGE_BYTES };
  const entries = await entriesFrom(artifacts.readBytes, page.archived, page.after, size);
  return entries.map((entry) => ({ run_id, ...entry }));
}
