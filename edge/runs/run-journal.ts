import { archivedPage, archivedRows, entriesFrom } from "../../shared/archive/read-archive.ts";
import type { RunId } from "../../shared/contracts/ids.ts";
import { AppError } from "../../shared/errors.ts";
import type { EntryLines } from "../../shared/events/lines.ts";
import type { ReadStored } from "../../shared/journal/fold.ts";
import { readArchivePlace } from "../../shared/store/archive/archive-journals.ts";
import { beginRestore, finishRestore, restoreRows } from "../../shared/store/archive/restore-journal.ts";
import { clientPage, readEntries, readStoredPage } from "../../shared/store/journal/read-journal.ts";
import { elapsedMs } from "../../shared/tasks/elapsed-ms.ts";
import type { Services } from "../services.ts";

/** The stores of journals: Postgres, and the archive for runs that ended long ago (docs/protocol.md 7.14). */
export type JournalStores = Pick<Services, "sql" | "artifacts">;

/**
 * At most `limit` entries of a run with events after number `after`, in order; a page of large events has fewer. Empty: no event
 * follows. @throws AppError `artifacts_away` when an archived journal cannot be read now
 */
export async function readRunEntries(
  { sql, artifacts }: JournalStores,
  run: RunId,
  after: number,
  limit: number,
): Promise<EntryLines[]> {
  const size = clientPage(limit);
  return entriesFrom(artifacts.readBytes, await readEntries(sql, run, after, size), after, size);
}

/** Reads the journal of a run up to event number `upto`, page by page, for a fold. @throws AppError `artifacts_away` */
export function pagesOfRun({ sql, artifacts }: JournalStores, run: RunId, upto: number): ReadStored {
  return async (after) => {
    const [place, page] = await Promise.all([
      readArchivePlace(sql, run),
      readStoredPage(sql, run, after, upto),
    ]);
    if (place === null && (page.entries.length > 0 || after >= upto)) return page;
    // The page is empty: the journal was archived between the two reads, or the rest of it is notes.
    const archived = place ?? (await readArchivePlace(sql, run));
    return archived === null ? page : archivedPage(artifacts.readBytes, archived, after, upto);
  };
}

/** The most time for a restore. An hour after its beginning the reconciler deletes what an unfinished restore wrote. */
const RESTORE_MS = 120_000;

/**
 * Brings the archived journal of a run back to Postgres, so that the run can go on. Does nothing for a journal that is in Postgres.
 * When the edge dies meanwhile, the run stays archived; two requests at the same time do no harm.
 * @throws AppError `artifacts_away` also when the restore takes longer than two minutes
 */
export async function restoreJournal({ sql, artifacts }: JournalStores, run: RunId): Promise<void> {
  const place = await readArchivePlace(sql, run);
  if (place === null || !(await beginRestore(sql, place))) return;
  const startedMs = elapsedMs();
  let after = 0;
  for (;;) {
    const rows = await archivedRows(artifacts.readBytes, place, after);
    const last = rows.at(-1);
    if (last === undefined) break;
    await restoreRows(sql, place, rows);
    after = last.seq;
    if (elapsedMs() - startedMs > RESTORE_MS)
      throw new AppError(
        "artifacts_away",
        "The archived journal of this run is read too slowly; try again later.",
        {
          retryAfterSeconds: 60,
        },
      );
  }
  if (await finishRestore(sql, place)) return;
  if ((await readArchivePlace(sql, run)) !== null)
    throw new Error(`the archived journal of ${run} is not whole`);
}
