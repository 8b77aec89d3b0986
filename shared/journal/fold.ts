import type { Orchestration } from "../contracts/definition/index.ts";
import { recordOf } from "./records.ts";
import type { JournalRecord } from "./records.ts";
import { applyToTrack, beginFork, rootTrack, stepPath, trackAt } from "./track.ts";
import type { Track } from "./track.ts";
import type {
  Checkpoint,
  EndRecord,
  ParkRecord,
  RetryPark,
  StoredEntry,
  StoredPage,
  TurnCheckpoint,
} from "../contracts/journal-entry.ts";
import type { JsonObject } from "../contracts/json.ts";
import type { RunInput } from "../contracts/run.ts";

/** A committed result without the values that it set: they are in the state, as far as no later result replaced them. */
export type Result = Omit<Checkpoint, "set" | "effects" | "track"> & { path: string };

/** The most results that a worker holds of a run, and that the last event of the run shows: a loop may have made 10,000. */
const MAX_HISTORY = 1_000;

/**
 * How far a run has come: the fold of its journal. Nothing else decides what a run does next. It is the run's own track, together
 * with the values that all its tracks share.
 */
export type Progress = Track & {
  /** The newest committed results of all tracks, in the order of their commits: MAX_HISTORY at most. */
  history: Result[];
  /** How many results are committed. */
  resultCount: number;
  /** What results and failed tries have cost in this life, as far as it is committed. */
  costMicroUsd: number;
  /** How often a client has retried the run after its end. Calls to the outside in a later life get new effect keys. */
  rewinds: number;
  /** The number of the entry of the last of these retries; 0: there was none. */
  rewoundAt: number;
  end: EndRecord | null;
};

/**
 * A run's state before its first step: the defaults of the schema, over them the state of the request, over both the
 * message as `user_input` and `user_query`.
 */
export function initialState(definition: Pick<Orchestration, "state_schema">, input: RunInput): JsonObject {
  const defaults = Object.entries(definition.state_schema).map(([key, field]) => [
    key,
    field.default ?? null,
  ]);
  return {
    ...Object.fromEntries(defaults),
    ...input.state,
    user_input: input.message,
    user_query: input.message,
  };
}

/** The progress of a run that has committed nothing. */
export function initialProgress(state: JsonObject): Progress {
  return {
    ...rootTrack(state),
    history: [],
    resultCount: 0,
    costMicroUsd: 0,
    rewinds: 0,
    rewoundAt: 0,
    end: null,
  };
}

/** Adds a result to `progress`. */
export function addResult(progress: Progress, checkpoint: Checkpoint): void {
  const { set: _set, effects: _effects, track, ...result } = checkpoint;
  progress.history.push({ ...result, path: stepPath(trackAt(progress, track), checkpoint.step) });
  if (progress.history.length > MAX_HISTORY) progress.history.shift();
  progress.resultCount += 1;
  progress.costMicroUsd += checkpoint.cost_micro_usd;
  progress.end = null;
  applyToTrack(progress, checkpoint);
}

/** Adds to `progress` that a track waits. `retryInMs`: how much of a retry's wait is left, in milliseconds; else not read. */
export function addPark(progress: Progress, record: ParkRecord, retryInMs: number): void {
  const track = trackAt(progress, record.track);
  switch (record.reason) {
    case "answer":
    case "timer":
      track.waitId = record.wait_id;
      break;
    case "child":
      track.waitId = record.wait_id;
      keepTries(track, record.retry);
      break;
    case "room":
      keepTries(track, record.retry);
      break;
    case "budget":
      progress.costMicroUsd += record.cost_micro_usd;
      track.budgetWait = record.wait_id;
      track.retry = record.retry;
      track.retryInMs = 0;
      break;
    case "retry":
      progress.costMicroUsd += record.cost_micro_usd;
      track.retry = record;
      track.retryInMs = retryInMs;
      break;
  }
}

function keepTries(track: Track, retry: RetryPark | undefined): void {
  if (retry === undefined) return;
  track.retry = retry;
  track.retryInMs = 0;
}

/** After a client's retry, tries start from 1 again, and so does the run's time, by which forks measure theirs. */
function beginLife(track: Track): void {
  track.retry = null;
  if (track.fork === null) return;
  track.fork.run_ms = 0;
  for (const below of track.fork.tracks.values()) beginLife(below);
}

/** Reads the page of a journal that begins after an entry's number, 0 for the first page. */
export type ReadStored = (after: number) => Promise<StoredPage>;

/**
 * The progress of a run with this journal, from the state `initial` on. It holds the state, the names of the results and the
 * turns of the current visits, and one page at a time of the rest: a journal may be larger than what a process can hold.
 */
export async function fold(initial: JsonObject, read: ReadStored): Promise<Progress> {
  const progress = initialProgress(initial);
  for await (const entry of countedEntries(read)) addEntry(progress, entry, recordOf(entry));
  return progress;
}

function addEntry(progress: Progress, { seq, age_ms }: StoredEntry, entry: JournalRecord): void {
  switch (entry.kind) {
    case "step":
      addResult(progress, entry.record);
      break;
    case "turn":
      addTurn(progress, entry.record);
      break;
    case "park":
      // Without an age (the entry is from an earlier version) the run woke because the wait is over.
      addPark(progress, entry.record, leftOf(entry.record, age_ms ?? Infinity));
      break;
    case "end":
      if (entry.record.checkpoint) addResult(progress, entry.record.checkpoint);
      progress.end = entry.record;
      break;
    case "rewind":
      beginLife(progress);
      progress.rewinds += 1;
      progress.rewoundAt = seq;
      progress.end = null;
      break;
    case "note":
      break;
  }
}

/** Adds a checkpoint inside an unfinished visit to `progress`: the fork that it begins, or its data. */
export function addTurn(progress: Progress, { track: place, step, visit, data, fork }: TurnCheckpoint): void {
  const track = trackAt(progress, place);
  if (fork) beginFork(track, step, visit, fork);
  else track.turns.push(data);
}

function leftOf(record: ParkRecord, ageMs: number): number {
  return record.reason === "retry" ? Math.max(0, record.wait_ms - ageMs) : 0;
}

/** The entries of a journal that still count, in order: a `rewind` cuts those between its `keep_seq` and itself. */
export async function* countedEntries(read: ReadStored): AsyncGenerator<StoredEntry> {
  let rewinds: Rewind[] = [];
  let page: StoredPage;
  let after = 0;
  do {
    page = await read(after);
    if (after === 0) rewinds = page.rewinds.flatMap(rewindOf);
    yield* page.entries.filter((entry) => !rewinds.some((rewind) => cuts(rewind, entry)));
    after = page.entries.at(-1)?.seq ?? after;
  } while (page.more);
}

type Rewind = { seq: number; keepSeq: number };

function rewindOf(stored: StoredEntry): Rewind[] {
  const entry = recordOf(stored);
  return entry.kind === "rewind" ? [{ seq: stored.seq, keepSeq: entry.record.keep_seq }] : [];
}

/**
 * Rewinds are counted, so no rewind cuts another. Parks for a retry or a budget are cut, because tries start from 1 again. An
 * end below `keep_seq` stays for the result that it carries.
 */
function cuts({ seq, keepSeq }: Rewind, entry: StoredEntry): boolean {
  return entry.seq < seq && entry.kind !== "rewind" && (entry.seq > keepSeq || isRetryOrBudgetPark(entry));
}

function isRetryOrBudgetPark(stored: StoredEntry): boolean {
  if (stored.kind !== "park") return false;
  const entry = recordOf(stored);
  return entry.kind === "park" && (entry.record.reason === "retry" || entry.record.reason === "budget");
}

/** State as clients see it: without the engine's own keys, which begin with `_`. */
export function publicState(state: Readonly<JsonObject>): JsonObject {
  return Object.fromEntries(Object.entries(state).filter(([key]) => !key.startsWith("_")));
}
