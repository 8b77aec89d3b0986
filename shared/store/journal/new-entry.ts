import { z } from "zod";
import { ChatReply } from "../../contracts/chat.ts";
import { Incarnation, RunId } from "../../contracts/ids.ts";
import { Usage } from "../../contracts/journal-entry.ts";
import { NewArtifact } from "../files/new-artifact.ts";
import { NewWait } from "../runs/waits.ts";

/** Why a run failed for good. `tries`: those of the step. `stack` names places in the code and quotes no text, because a tenant's admin key may read it. */
export const DeadLetter = z.object({
  code: z.string(),
  message: z.string(),
  stack: z.string().nullable(),
  step_id: z.string().nullable(),
  tries: z.number().int(),
  /** The time of the step's first failure; null: the time of this entry's commit. */
  first_failed_at: z.string().nullable(),
});
export type DeadLetter = z.infer<typeof DeadLetter>;

/** The run that an entry belongs to, with the fence: `known_seq` is the last event number that the worker knows. */
const Fence = z.object({
  run_id: RunId,
  attempt: z.number().int(),
  owner: Incarnation,
  known_seq: z.number().int(),
});

/** Event lines, one JSON a line, at least one: the entry's number is that of its last event. */
const Lines = z.object({ events: z.string().min(2), events_n: z.number().int().positive() });

const usage = z.array(Usage).readonly();
/** The files that the calls of the checkpoint have written. */
const artifacts = z.array(NewArtifact).readonly().exactOptional();
/** Time after the commit within which the run must commit its next entry; after it the run counts as stuck. */
const deadline_ms = z.number().int();

/** The result of a visit. `current_step` is the step that follows, and the deadline is that step's. */
const StepEntry = z.object({
  kind: z.literal("step"),
  step_path: z.string(),
  visit: z.number().int(),
  /** JSON text of a Checkpoint. */
  output: z.string(),
  current_step: z.string().nullable(),
  deadline_ms,
  usage,
  artifacts,
});

/** A checkpoint inside a visit. */
const TurnEntry = z.object({
  kind: z.literal("turn"),
  step_path: z.string(),
  visit: z.number().int(),
  /** JSON text of a TurnCheckpoint. */
  output: z.string(),
  deadline_ms,
  usage,
  artifacts,
});

/** Events only. `step_path`: the step that runs, null before the first. */
const NoteEntry = z.object({ kind: z.literal("note"), step_path: z.string().nullable(), deadline_ms });

/** A track waits. When no other track of its run can move, this gives the run's slot back until a wake-up. */
const ParkEntry = z.object({
  kind: z.literal("park"),
  step_path: z.string(),
  visit: z.number().int(),
  /** JSON text of a ParkRecord. */
  output: z.string(),
  usage,
  /** Null: other tracks of the run move, so that it keeps its slot. Then `wake_ms` is null too. */
  status: z.enum(["queued", "paused"]).nullable(),
  /** The run wakes after this time, or at the first deadline of its waits if that is earlier. */
  wake_ms: z.number().int().nullable(),
  waits: z.array(NewWait).readonly(),
  /** The signals that the worker has seen: when the run has had more, the park is refused. Null: no signal matters. */
  signals: z.number().int().nullable(),
  deadline_ms,
});

/** Ends the run. `step_path` and `visit` are null when the entry carries no step's result. */
const EndEntry = z.object({
  kind: z.literal("end"),
  step_path: z.string().nullable(),
  visit: z.number().int().nullable(),
  /** JSON text of an EndRecord. */
  output: z.string(),
  usage,
  artifacts,
  status: z.enum(["completed", "failed", "cancelled"]),
  /** JSON text of a RunError when the run fails. */
  error: z.string().nullable(),
  dead_letter: DeadLetter.nullable(),
  /** Of a chat turn: its answer, which is added to the history of its session. */
  reply: ChatReply.nullish(),
});

/** What a worker's entry holds besides its fence and its events, by kind. `rewind` is missing: only the edge writes it. */
export type EntryContent = z.infer<
  typeof StepEntry | typeof TurnEntry | typeof NoteEntry | typeof ParkEntry | typeof EndEntry
>;

/**
 * The result of a visit that is committed in the statement of a later entry of its run, as an entry of its own before that
 * one: the worker executed a step without effects before it sent this result. It charges nothing and has
 * no files.
 */
const EarlierResult = StepEntry.pick({ kind: true, step_path: true, visit: true, output: true }).extend(
  Lines.shape,
);
export type EarlierResult = z.infer<typeof EarlierResult>;

const added = { ...Fence.shape, ...Lines.shape, earlier: z.array(EarlierResult).readonly() };

/**
 * One entry on its way into a run's journal, as a worker sends it, with the `earlier` results of its run. `columnsOf` in
 * entry-columns.ts maps it to columns.
 */
export const NewEntry = z.discriminatedUnion("kind", [
  StepEntry.extend(added),
  TurnEntry.extend(added),
  NoteEntry.extend(added),
  ParkEntry.extend(added),
  EndEntry.extend(added),
]);
export type NewEntry = z.infer<typeof NewEntry>;

/** The journal's entries that a flush of `entry` writes: its earlier results, then itself. A note has no output. */
export function writtenBy(entry: NewEntry): Pick<EarlierResult, "output" | "events" | "events_n">[] {
  const { events, events_n } = entry;
  // Without a spread, which would copy twenty fields four times a flush.
  return [...entry.earlier, { output: entry.kind === "note" ? "" : entry.output, events, events_n }];
}

/** How many events a flush of `entry` writes. */
export function eventCountOf(entry: NewEntry): number {
  return writtenBy(entry).reduce((sum, { events_n }) => sum + events_n, 0);
}
