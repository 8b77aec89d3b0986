import type { ChatReply } from "../../contracts/chat.ts";
import type { EntryKind, Usage } from "../../contracts/journal-entry.ts";
import type { RunStatus } from "../../contracts/run.ts";
import type { NewArtifact } from "../files/new-artifact.ts";
import type { NewWait } from "../runs/waits.ts";
import type { DeadLetter, NewEntry } from "./new-entry.ts";

/** An entry as the statement of a flush takes it: every kind has every column. */
export type EntryColumns = Pick<
  NewEntry,
  "run_id" | "attempt" | "owner" | "known_seq" | "events" | "events_n" | "earlier"
> & {
  kind: EntryKind;
  step_path: string | null;
  visit: number | null;
  output: string | null;
  deadline_ms: number;
  current_step: string | null;
  /** Committed results: that of this entry, if it has one, and the earlier ones. */
  steps: number;
  usage: readonly Usage[];
  artifacts: readonly NewArtifact[];
  /** The run's new status; null: it continues to run. */
  status: Exclude<RunStatus, "running"> | null;
  wake_ms: number | null;
  signals: number | null;
  waits: readonly NewWait[];
  error: string | null;
  dead_letter: DeadLetter | null;
  reply: ChatReply | null;
};

/** The values of the columns that a kind of entry does not have: they leave the run running and unchanged. */
const UNCHANGED_COLUMNS = {
  visit: null,
  output: null,
  usage: [],
  artifacts: [],
  status: null,
  wake_ms: null,
  signals: null,
  waits: [],
  error: null,
  dead_letter: null,
  reply: null,
} as const;

/** The one place that maps the kinds of entries to columns. */
export function columnsOf(entry: NewEntry): EntryColumns {
  switch (entry.kind) {
    case "step":
      return { ...UNCHANGED_COLUMNS, ...entry, steps: entry.earlier.length + 1 };
    case "turn":
    case "note":
      return {
        ...UNCHANGED_COLUMNS,
        ...entry,
        steps: entry.earlier.length,
        current_step: entry.step_path,
      };
    case "park":
      return {
        ...UNCHANGED_COLUMNS,
        ...entry,
        steps: entry.earlier.length,
        current_step: entry.step_path,
        wake_ms:
          entry.wake_ms === null
            ? null
            : Math.min(entry.wake_ms, ...entry.waits.map((wait) => wait.deadline_ms ?? Infinity)),
      };
    case "end":
      return {
        ...UNCHANGED_COLUMNS,
        ...entry,
        deadline_ms: 0,
        current_step: null,
        reply: entry.reply ?? null,
        steps: entry.earlier.length + (entry.step_path === null ? 0 : 1),
      };
  }
}
