import { recordOf } from "../contracts/journal-entry.ts";
import type { Checkpoint, StoredEntry } from "../contracts/journal-entry.ts";
import { countedEntries } from "./fold.ts";

/**
 * The `keep_seq` of a retry that begins with `step`: results after that number no longer count. Null when no counted
 * entry holds a result of the step.
 *
 * The retry repeats the step's latest visit, with the turns of that visit. In a loop this discards the fewest rounds; a
 * client that wants to go further back names an earlier step.
 */
export function keepSeqBefore(entries: readonly StoredEntry[], step: string): number | null {
  const results = countedEntries(entries).flatMap((entry) => {
    const checkpoint = checkpointOf(entry);
    return checkpoint ? [{ seq: entry.seq, step: checkpoint.step }] : [];
  });
  const index = results.findLastIndex((result) => result.step === step);
  if (index < 0) return null;
  return results[index - 1]?.seq ?? 0;
}

function checkpointOf(stored: StoredEntry): Checkpoint | null {
  if (stored.kind !== "step" && stored.kind !== "end") return null;
  const entry = recordOf(stored);
  if (entry.kind === "step") return entry.record;
  return entry.kind === "end" ? entry.record.checkpoint : null;
}
