import type { StoredEntry } from "../../../shared/contracts/journal-entry.ts";
import type { ReadStored } from "../../../shared/journal/fold.ts";

/** A journal as `readStoredPage` reads it, in pages of `size` entries. */
export function storedPages(journal: readonly StoredEntry[], size = Infinity): ReadStored {
  const stored = journal.filter(({ kind }) => kind !== "note");
  return async (after) => {
    const left = stored.filter(({ seq }) => seq > after);
    const rewinds = after === 0 ? stored.filter(({ kind }) => kind === "rewind") : [];
    return { entries: left.slice(0, size), more: left.length > size, rewinds };
  };
}
