import { z } from "zod";
import { JsonValue } from "./json.ts";

/**
 * What an entry of a run's journal is.
 * `step` and `turn` are checkpoints (of a step, inside a step), `note` carries events only, `park` gives the
 * run's slot back until its wake-up, `end` ends it (and may carry the last step's checkpoint), `rewind` undoes
 * the results of a step and of all after it, for a retry.
 */
export const EntryKind = z.enum(["step", "turn", "note", "park", "end", "rewind"]);
export type EntryKind = z.infer<typeof EntryKind>;

/** A large value that lies in the object store instead of in state: `size` in bytes, `preview` its first characters. */
export const Reference = z.object({
  $ref: z.string(),
  size: z.number().int(),
  content_type: z.string(),
  preview: z.string(),
});
export type Reference = z.infer<typeof Reference>;

/** One call to a model, as it is charged. Money in micro-dollars, so that sums are exact. */
export const Usage = z.object({
  call: z.string(),
  provider: z.string(),
  model: z.string(),
  input_tokens: z.number().int().nonnegative(),
  output_tokens: z.number().int().nonnegative(),
  cost_micro_usd: z.number().int().nonnegative(),
});
export type Usage = z.infer<typeof Usage>;

/** The committed result of one visit of one step: `output` of a `step` entry, and of the `end` entry that carries one. */
export const Checkpoint = z.object({
  step: z.string(),
  visit: z.number().int().positive(),
  type: z.string(),
  name: z.string(),
  /** State keys that the step wrote, with their values or references. */
  set: z.record(z.string(), JsonValue),
  /** The step that follows, or null when the run is at its end. Stored, not derived again: routing is part of the result. */
  next: z.string().nullable(),
  output_key: z.string().nullable(),
  started_at: z.string(),
  duration_ms: z.number().int().nonnegative(),
  tries: z.number().int().positive(),
  tokens: z.number().int().nonnegative(),
  cost_micro_usd: z.number().int().nonnegative(),
  /** The keys under which this visit called the outside: `run:step path:visit:call[:try]`. */
  effects: z.array(z.string()),
});
export type Checkpoint = z.infer<typeof Checkpoint>;

/** What an unfinished visit has reached: `output` of a `turn` entry. `data` is the step type's own. */
export const TurnCheckpoint = z.object({ step: z.string(), visit: z.number().int(), data: JsonValue });
export type TurnCheckpoint = z.infer<typeof TurnCheckpoint>;

/** A try of a visit failed, and another is to follow. */
export const RetryPark = z.object({
  step: z.string(),
  visit: z.number().int(),
  reason: z.literal("retry"),
  /** How often this visit has been tried so far. */
  tries: z.number().int(),
  /** How many of them were answered, with a no: the next call outside has a key of its own. */
  answered: z.number().int().nonnegative().default(0),
  error: z.object({ code: z.string(), message: z.string() }),
  first_failed_at: z.string(),
});
export type RetryPark = z.infer<typeof RetryPark>;

/** A visit has asked somebody; `wait_id` is the question's name among the run's waits. */
const AnswerPark = z.object({
  step: z.string(),
  visit: z.number().int(),
  reason: z.literal("answer"),
  wait_id: z.string(),
});

/** Why a run gave its slot back: `output` of a `park` entry. */
export const ParkRecord = z.discriminatedUnion("reason", [RetryPark, AnswerPark]);
export type ParkRecord = z.infer<typeof ParkRecord>;

/** What became of a run: `output` of an `end` entry. */
export const EndRecord = z.object({
  status: z.enum(["completed", "failed", "cancelled"]),
  checkpoint: Checkpoint.nullable(),
  /** The text (or value) that the run answers with. */
  response: JsonValue,
  error: z.object({ code: z.string(), message: z.string(), step_id: z.string().nullable() }).nullable(),
});
export type EndRecord = z.infer<typeof EndRecord>;

/** How far a retry goes back: results of entries with `seq` above `keep_seq` (up to this one) do not count any more. */
export const RewindRecord = z.object({ keep_seq: z.number().int().nonnegative() });
export type RewindRecord = z.infer<typeof RewindRecord>;

/** A journal entry as it is read back: what a fold needs, without its event lines. `output` is JSON text. */
export const StoredEntry = z.object({
  seq: z.number().int(),
  kind: EntryKind,
  output: z.string().nullable(),
});
export type StoredEntry = z.infer<typeof StoredEntry>;
