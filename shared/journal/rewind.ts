import type { Checkpoint, StoredEntry } from "../contracts/journal-entry.ts";
import { countedEntries } from "./fold.ts";
import type { ReadStored } from "./fold.ts";
import { recordOf } from "./records.ts";

/** Where a retry may begin. */
export type RetryPlace = {
  /** Results up to this number count when the retry begins with the step; null: no counted entry holds a result of it. */
  keepSeq: number | null;
  /** The step that the run does next; undefined: it has no result yet. */
  next: string | null | undefined;
};

/**
 * Where a retry from `step` begins. It holds one page of the journal and no state.
 *
 * The retry repeats the step's latest visit, with the turns of that visit. In a loop this discards the fewest rounds; a
 * client that wants to go further back names an earlier step.
 */
export async function retryPlace(read: ReadStored, step: string): Promise<RetryPlace> {
  const place: RetryPlace = { keepSeq: null, next: undefined };
  let resultBefore = 0;
  for await (const entry of countedEntries(read)) {
    const result = resultIn(entry);
    if (result === null) continue;
    if (result.step === step) place.keepSeq = resultBefore;
    place.next = result.next;
    resultBefore = entry.seq;
  }
  return place;
}

/** The result that an entry holds, if it holds one. */
export function resultIn(stored: StoredEntry): Checkpoint | null {
  if (stored.kind !== "step" && stored.kind !== "end") return null;
  const entry = recordOf(stored);
  if (entry.kind === "step") return entry.record;
  return entry.kind === "end" ? entry.record.checkpoint : null;
}
