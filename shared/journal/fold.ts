import type { Orchestration } from "../contracts/definition/index.ts";
import { recordOf } from "./records.ts";
import type { JournalRecord } from "./records.ts";
import type {
  Checkpoint,
  EndRecord,
  RetryPark,
  StoredEntry,
  StoredPage,
} from "../contracts/journal-entry.ts";
import type { Json, JsonObject } from "../contracts/json.ts";
import type { RunInput } from "../contracts/run.ts";

/** A committed result without the values that it set: they are in the state, as far as no later result replaced them. */
export type Result = Omit<Checkpoint, "set" | "effects">;

/** How far a run has come: the fold of its journal. Nothing else decides what a run does next. */
export type Progress = {
  state: JsonObject;
  /** Committed results, in the order of their commits. */
  history: Result[];
  /** The step to run next; undefined before the first result, null when the run is at its end. */
  next: string | null | undefined;
  /** The turns of the current visit, in order: the `data` of each. */
  turns: Json[];
  /** How often a client has retried the run after its end. Calls to the outside in a later life get new effect keys. */
  rewinds: number;
  /** The number of the entry of the last of these retries; 0: there was none. */
  rewoundAt: number;
  /** The retry that the current visit waits for, if a try of it failed. */
  retry: RetryPark | null;
  /** The cost of failed tries that was charged while the run waited for the next one: no result reports it. */
  costOfRetriesMicroUsd: number;
  /** The `wait_id` of the last question that the current visit asked, in this life of the run or an earlier one. */
  questionId: string | null;
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
    state: { ...state },
    history: [],
    next: undefined,
    turns: [],
    rewinds: 0,
    rewoundAt: 0,
    costOfRetriesMicroUsd: 0,
    retry: null,
    questionId: null,
    end: null,
  };
}

/** `progress` after one more committed result. It returns a new value: `progress` itself does not change. */
export function applyResult(progress: Progress, checkpoint: Checkpoint): Progress {
  return {
    state: { ...progress.state, ...checkpoint.set },
    history: [...progress.history, resultOf(checkpoint)],
    next: checkpoint.next,
    turns: [],
    rewinds: progress.rewinds,
    rewoundAt: progress.rewoundAt,
    costOfRetriesMicroUsd: progress.costOfRetriesMicroUsd,
    retry: null,
    questionId: null,
    end: null,
  };
}

/** Reads the page of a journal that begins after an entry's number, 0 for the first page. */
export type ReadStored = (after: number) => Promise<StoredPage>;

/**
 * The progress of a run with this journal, from the state `initial` on. It holds the state, the names of the results and the
 * turns of the current visit, and one page at a time of the rest: a journal may be larger than what a process can hold.
 *
 * Linear in the number of entries: `applyResult` for each would copy the whole history each time.
 */
export async function fold(initial: JsonObject, read: ReadStored): Promise<Progress> {
  const progress = initialProgress(initial);
  for await (const entry of countedEntries(read)) addEntry(progress, entry.seq, recordOf(entry));
  return progress;
}

function addEntry(progress: Progress, seq: number, entry: JournalRecord): void {
  switch (entry.kind) {
    case "step":
      addResult(progress, entry.record);
      break;
    case "turn":
      progress.turns.push(entry.record.data);
      break;
    case "park":
      if (entry.record.reason === "retry") {
        progress.retry = entry.record;
        progress.costOfRetriesMicroUsd += entry.record.cost_micro_usd;
      } else progress.questionId = entry.record.wait_id;
      break;
    case "end":
      if (entry.record.checkpoint) addResult(progress, entry.record.checkpoint);
      progress.end = entry.record;
      break;
    case "rewind":
      progress.rewinds += 1;
      progress.rewoundAt = seq;
      progress.end = null;
      break;
    case "note":
      break;
  }
}

/** `applyResult` in place. */
function addResult(progress: Progress, checkpoint: Checkpoint): void {
  Object.assign(progress.state, checkpoint.set);
  progress.history.push(resultOf(checkpoint));
  progress.next = checkpoint.next;
  progress.turns = [];
  progress.retry = null;
  progress.questionId = null;
  progress.end = null;
}

function resultOf({ set: _set, effects: _effects, ...result }: Checkpoint): Result {
  return result;
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
 * Rewinds are counted, so no rewind cuts another. Parks for a retry are cut, because tries start from 1 again. An end below
 * `keep_seq` stays for the result that it carries.
 */
function cuts({ seq, keepSeq }: Rewind, entry: StoredEntry): boolean {
  return entry.seq < seq && entry.kind !== "rewind" && (entry.seq > keepSeq || isRetry(entry));
}

function isRetry(stored: StoredEntry): boolean {
  if (stored.kind !== "park") return false;
  const entry = recordOf(stored);
  return entry.kind === "park" && entry.record.reason === "retry";
}

/** How many results the step has committed. */
export function visitsOf(progress: Progress, step: string): number {
  return progress.history.reduce((count, result) => count + (result.step === step ? 1 : 0), 0);
}

/** State as clients see it: without the engine's own keys, which begin with `_`. */
export function publicState(state: Readonly<JsonObject>): JsonObject {
  return Object.fromEntries(Object.entries(state).filter(([key]) => !key.startsWith("_")));
}
