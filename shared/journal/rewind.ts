import type { Checkpoint, StoredEntry } from "../contracts/journal-entry.ts";
import { countedEntries } from "./fold.ts";
import type { ReadStored } from "./fold.ts";
import { recordOf } from "./records.ts";

/** Where a retry may begin. */
export type RetryPlace = {
  /** Results up to this number count when the retry begins with the step; null: no counted entry holds a result of it. */
  keepSeq: number | null;
  /** The number of the last result of the run's own track. */
  lastSeq: number;
  /** The step that the run does next; undefined: it has no result yet. */
  next: string | null | undefined;
};

/**
 * Where a retry from `step`, a step of the run's own track, begins. It holds one page of the journal and no state.
 *
 * The retry repeats the step's latest visit, with the turns of that visit. In a loop this discards the fewest rounds; a
 * client that wants to go further back names an earlier step.
 */
export async function retryPlace(read: ReadStored, step: string): Promise<RetryPlace> {
  const place: RetryPlace = { keepSeq: null, lastSeq: 0, next: undefined };
  let resultBefore = 0;
  for await (const entry of countedEntries(read)) {
    const result = resultIn(entry);
    // A branch begins anew with the parallel or loop step that it belongs to.
    if (result === null || result.track !== undefined) continue;
    if (result.step === step) place.keepSeq = resultBefore;
    place.next = result.next;
    resultBefore = entry.seq;
  }
  place.lastSeq = resultBefore;
  return place;
}

/** The result that an entry holds, if it holds one. */
export function resultIn(stored: StoredEntry): Checkpoint | null {
  if (stored.kind !== "step" && stored.kind !== "end") return null;
  const entry = recordOf(stored);
  if (entry.kind === "step") return entry.record;
  return entry.kind === "end" ? entry.record.checkpoint : null;
}
