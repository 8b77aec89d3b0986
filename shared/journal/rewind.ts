import { Checkpoint, EndRecord } from "../contracts/journal-entry.ts";
import type { StoredEntry } from "../contracts/journal-entry.ts";
import { survivors } from "./fold.ts";

/**
 * How far a retry that begins with `step` keeps a journal: the number after which results no longer count. Null: the
 * step has no result that counts.
 *
 * It is the step's latest visit that is done again: of a loop's rounds the least is thrown away, and who wants to go
 * further back names an earlier step. What that visit had reached inside itself (its turns) goes too.
 */
export function keepBefore(entries: readonly StoredEntry[], step: string): number | null {
  const results = survivors(entries).flatMap((entry) => {
    const checkpoint = checkpointOf(entry);
    return checkpoint ? [{ seq: entry.seq, step: checkpoint.step }] : [];
  });
  const at = results.findLastIndex((result) => result.step === step);
  if (at < 0) return null;
  return results[at - 1]?.seq ?? 0;
}

function checkpointOf({ kind, output }: StoredEntry): Checkpoint | null {
  if (output === null) return null;
  if (kind === "step") return Checkpoint.parse(JSON.parse(output));
  return kind === "end" ? EndRecord.parse(JSON.parse(output)).checkpoint : null;
}
