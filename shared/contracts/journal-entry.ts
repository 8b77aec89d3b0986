import { z } from "zod";
import { AnsweredBy } from "./approval.ts";
import { JsonRecord, JsonValue } from "./json.ts";

/**
 * What an entry of a run's journal is; `JournalRecord` says what each kind holds.
 * `step` and `turn` are checkpoints (of a step, inside a step). `note` carries events only. `park` says that a track waits;
 * if no other track of the run can move, it gives the run's slot back until the wake-up. `end` ends the run and may carry the
 * last step's checkpoint. `rewind` is a client's retry: it cancels the results of a step and of all steps after it.
 */
export const EntryKind = z.enum(["step", "turn", "note", "park", "end", "rewind"]);
export type EntryKind = z.infer<typeof EntryKind>;

/**
 * A large value that is in the object store instead of in state. `size` in bytes; `preview` is its first characters; `url`
 * opens it with a key that may read the run. References from before there was such a field have no `url`.
 */
export const Reference = z.object({
  $ref: z.string(),
  size: z.number().int().nonnegative(),
  content_type: z.string(),
  preview: z.string(),
  url: z.string().exactOptional(),
});
export type Reference = z.infer<typeof Reference>;

/** The largest count that is stored of one call. */
const MAX_TOKENS = 2_147_483_647;

/**
 * A count of tokens as it is stored, made from any value that a provider reports: rounded, 0 for a negative one or for no
 * number, and at most MAX_TOKENS. It never fails: a strange count must not lose an answer, nor stop a run that has committed
 * one.
 */
export const TokenCount = z.unknown().transform((reported) => {
  const isCount = typeof reported === "number" || typeof reported === "string";
  const count = isCount ? Math.round(Number(reported)) : 0;
  return count > 0 ? Math.min(count, MAX_TOKENS) : 0;
});

/** One model call as it is charged. Money in micro-dollars, so that sums are exact. */
export const Usage = z.object({
  call: z.string(),
  provider: z.string(),
  model: z.string(),
  input_tokens: TokenCount,
  output_tokens: TokenCount,
  cost_micro_usd: z.number().transform((cost) => Math.max(0, Math.ceil(cost))),
  /** The provider did not report the tokens: they are estimated by the length of the texts. */
  estimated: z.literal(true).exactOptional(),
  /** A cancel, a timeout or a drain cut the call off, or made its answer useless. */
  wasted: z.literal(true).exactOptional(),
  /** The answer was kept from an earlier call: nothing was called, and nothing is paid. */
  cached: z.literal(true).exactOptional(),
  /** The name under which the call is reserved in budgets: its charge takes the place of the reservation. */
  reserved: z.string().exactOptional(),
});
export type Usage = z.infer<typeof Usage>;

/**
 * The track of a step: the number of the branch or iteration in each parallel or loop step around it, the outermost first.
 * Absent for the run's own track.
 */
const Place = z.array(z.number().int().nonnegative()).readonly().exactOptional();

/** The committed result of one visit of one step. */
export const Checkpoint = z.object({
  track: Place,
  step: z.string(),
  visit: z.number().int().positive(),
  type: z.string(),
  name: z.string(),
  /** State keys that the step wrote, with their values or references. */
  set: JsonRecord,
  /** The step that follows; null at the end of its track. It is stored and never computed again: routing is part of the result. */
  next: z.string().nullable(),
  output_key: z.string().nullable(),
  started_at: z.string(),
  duration_ms: z.number().int().nonnegative(),
  tries: z.number().int().positive(),
  tokens: z.number(),
  cost_micro_usd: z.number(),
  /** Of a human step: the source of its answer. Null: no answer came in time. */
  answered_by: AnsweredBy.nullable().exactOptional(),
  /** The effect keys of this visit's calls to the outside: `run:step path:visit:call[:try]`. */
  effects: z.array(z.string()),
  /** Tokens and cost of some of its model calls are estimated. */
  estimated: z.literal(true).exactOptional(),
  /** The visit and its track have failed; the other tracks of the fork go on (`on_branch_error` is `collect`). */
  error: z.object({ code: z.string(), message: z.string() }).exactOptional(),
});
export type Checkpoint = z.infer<typeof Checkpoint>;

/**
 * A visit of a parallel or loop step begins, with `count` tracks. `in` says what each track is: a branch; a round of a loop,
 * which goes on with the state of the round before; or the iteration for one item of a list.
 */
export const ForkRecord = z.object({
  in: z.enum(["branches", "rounds", "items"]),
  count: z.number().int().nonnegative(),
  /** By the clock of the worker, for people. */
  began_at: z.string(),
  /** Keys that several branches write: afterwards each is the list of their values, in the order of the branches. */
  merged: z.array(z.string()).readonly().exactOptional(),
  /** Keys that the steps of a loop write: afterwards each is a list, also where no iteration has written it. */
  listed: z.array(z.string()).readonly().exactOptional(),
  /** The run's time so far, without pauses: the step's timeout counts from here. */
  run_ms: z.number(),
});
export type ForkRecord = z.infer<typeof ForkRecord>;

/** What an unfinished visit has reached. The step type defines `data`. */
export const TurnCheckpoint = z.object({
  track: Place,
  step: z.string(),
  visit: z.number().int(),
  data: JsonValue,
  /** Set when the turn begins a fork; then `data` is null. */
  fork: ForkRecord.exactOptional(),
});
export type TurnCheckpoint = z.infer<typeof TurnCheckpoint>;

/**
 * A try of a visit failed, and the next one waits for its time; or a model call of the visit waits for its provider, which is no
 * failure. Both are one record, because workers of an earlier version know only the first, and do the same with it.
 */
export const RetryPark = z.object({
  track: Place,
  step: z.string(),
  visit: z.number().int(),
  reason: z.literal("retry"),
  /** The visit's tries so far. */
  tries: z.number().int(),
  /** How many of these tries the called service answered with a refusal: each refusal gives the next call a new effect key. */
  answered: z.number().int().nonnegative().default(0),
  error: z.object({ code: z.string(), message: z.string() }),
  /** The cost of the failed tries, which this entry charges: no result reports it. */
  cost_micro_usd: z.number().default(0),
  first_failed_at: z.string(),
  /** How long the next try waits, from the commit of this entry on. */
  wait_ms: z.number().nonnegative().default(0),
  /** Of a wait for a provider, which `error` names: the model, and the number of this wait in the visit. */
  provider: z.object({ model: z.string(), waits: z.number().int().positive() }).exactOptional(),
});
export type RetryPark = z.infer<typeof RetryPark>;

/** A visit asked a question, or started a timer; `wait_id` is its id among the run's waits. */
const WaitPark = z.object({
  track: Place,
  step: z.string(),
  visit: z.number().int(),
  reason: z.enum(["answer", "timer"]),
  wait_id: z.string(),
});

/**
 * Calls of a visit wait, for the ends of children, for persons or for times; `wait_id` is the first of their waits. A call
 * that waits for a time alone has no row. `retry`: the failed tries of the visit before; absent: there are none.
 */
const ChildPark = WaitPark.extend({ reason: z.literal("child"), retry: RetryPark.exactOptional() });

/** A visit is to start a child, and the queue of the tenant has no room for it. `retry`: as of a ChildPark. */
const RoomPark = z.object({
  track: Place,
  step: z.string(),
  visit: z.number().int(),
  reason: z.literal("room"),
  orchestration_id: z.string(),
  /** A sentence about the queue, for people. */
  why: z.string(),
  retry: RetryPark.exactOptional(),
});

/** A budget refused a model call of the visit, and a person may raise it; `wait_id` names the wait among the run's waits. */
const BudgetPark = z.object({
  track: Place,
  step: z.string(),
  visit: z.number().int(),
  reason: z.literal("budget"),
  wait_id: z.string(),
  budget_id: z.string(),
  /** The cost of the visit's calls that this entry charges. */
  cost_micro_usd: z.number(),
  /** The failed tries of the visit before this one; null: there are none. */
  retry: RetryPark.nullable(),
});

/** What a track waits for. When no track of its run can move, the run gives its slot back. */
export const ParkRecord = z.discriminatedUnion("reason", [
  RetryPark,
  WaitPark,
  ChildPark,
  RoomPark,
  BudgetPark,
]);
export type ParkRecord = z.infer<typeof ParkRecord>;

/** How a run ended. */
export const EndRecord = z.object({
  status: z.enum(["completed", "failed", "cancelled"]),
  checkpoint: Checkpoint.nullable(),
  /** The run's answer: text, or any value. */
  response: JsonValue,
  error: z.object({ code: z.string(), message: z.string(), step_id: z.string().nullable() }).nullable(),
});
export type EndRecord = z.infer<typeof EndRecord>;

/** How far a retry goes back: results of entries with `seq` above `keep_seq`, up to this entry, do not count any more. */
export const RewindRecord = z.object({ keep_seq: z.number().int().nonnegative() });
export type RewindRecord = z.infer<typeof RewindRecord>;

/**
 * A journal entry as it is read back: what a fold needs. `output` is JSON text. `events`: its lines, if `output` refers to
 * them; else null, or absent.
 */
export const StoredEntry = z.object({
  seq: z.number().int(),
  kind: EntryKind,
  /** The path of its step. */
  step_path: z.string().nullish(),
  output: z.string().nullable(),
  events: z.string().nullish(),
  /** Of a park: the time since its commit, by Postgres' clock. */
  age_ms: z.number().nullish(),
});
export type StoredEntry = z.infer<typeof StoredEntry>;

/** A page of a journal: see `readStoredPage`. `more`: the next page may have entries. */
export const StoredPage = z.object({
  entries: z.array(StoredEntry),
  more: z.boolean(),
  rewinds: z.array(StoredEntry),
});
export type StoredPage = z.infer<typeof StoredPage>;
