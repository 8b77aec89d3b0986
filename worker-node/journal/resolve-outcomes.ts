import type { RunId } from "../../shared/contracts/ids.ts";
import type { NewEntry } from "../../shared/store/journal/new-entry.ts";
import type { StateStore } from "../../shared/store/state.ts";

/**
 * The result of one entry's flush. `fenced`: another worker moves the run, so this one stops and writes nothing more.
 * `refused`: a park that missed a signal; the execution decides again. `rejected`: Postgres will never take the entry.
 */
export type Outcome =
  | { is: "committed"; signals: number; cancel: boolean }
  | { is: "fenced" }
  | { is: "refused"; signals: number; cancel: boolean }
  | { is: "rejected"; message: string };

/**
 * The outcomes of entries that a flush did not commit, read in statements of their own. docs/protocol.md 5.4.
 * @param mayBeCommitted an earlier try of the same flush had an unknown outcome: it may have committed them
 */
export async function resolveOutcomes(
  store: StateStore,
  entries: readonly NewEntry[],
  mayBeCommitted: boolean,
): Promise<Map<RunId, Outcome>> {
  const committed = new Set(mayBeCommitted ? await store.findCommitted(entries.map(placeOf)) : []);
  const snapshots = await store.readRunSnapshots(entries.map(({ run_id }) => run_id));
  const byRun = new Map(snapshots.map((snapshot) => [snapshot.run_id, snapshot]));
  return new Map(
    entries.map((entry): [RunId, Outcome] => {
      const run = byRun.get(entry.run_id);
      const { signals = 0, cancel = false } = run ?? {};
      if (committed.has(entry.run_id)) return [entry.run_id, { is: "committed", signals, cancel }];
      const isOwner = run?.status === "running" && run.owner === entry.owner && run.attempt === entry.attempt;
      if (isOwner && entry.kind === "park" && signals !== entry.signals) {
        return [entry.run_id, { is: "refused", signals, cancel }];
      }
      return [entry.run_id, { is: "fenced" }];
    }),
  );
}

/** Where the journal has the entry, if it was committed. */
function placeOf({ run_id, known_seq, events_n, attempt }: NewEntry) {
  return { run_id, seq: known_seq + events_n, attempt };
}
