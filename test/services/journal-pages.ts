/** Pages of journals of which nothing is in the archive. */
import { entriesFrom } from "../../shared/archive/read-archive.ts";
import type { RunId } from "../../shared/contracts/ids.ts";
import { VIEWER_PAGE, clientPage, readEntries } from "../../shared/store/journal/read-journal.ts";
import type { Sql } from "../../shared/store/sql.ts";

/** An archive that has nothing. */
export async function noArchive(): Promise<never> {
  throw new Error("this test archived no journal");
}

export async function viewerPage(sql: Sql, run: RunId, after: number) {
  return entriesFrom(noArchive, await readEntries(sql, run, after, VIEWER_PAGE), after, VIEWER_PAGE);
}

export async function entriesAfter(sql: Sql, run: RunId, after: number, limit: number) {
  const size = clientPage(limit);
  return entriesFrom(noArchive, await readEntries(sql, run, after, size), after, size);
}
