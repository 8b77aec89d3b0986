import type { Orchestration } from "../contracts/definition/index.ts";
import { recordOf } from "../contracts/journal-entry.ts";
import type { Checkpoint, EndRecord, RetryPark, StoredEntry } from "../contracts/journal-entry.ts";
import type { Json, JsonObject } from "../contracts/json.ts";
import type { RunInput } from "../contracts/run.ts";

/** How far a run has come: the fold of its journal. Nothing else decides what a run does next. */
export type Progress = {
  state: JsonObject;
  /** Committed results, in the order of their commits. */
  history: Checkpoint[];
  /** The step to run next; undefined before the first result, null when the run is at its end. */
  next: string | null | undefined;
  /** The turns of the current visit, in order: the `data` of each. */
  turns: Json[];
  /** How often a client has retried the run after its end. Calls to the outside in a later life get new effect keys. */
  rewinds: number;
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
    costOfRetriesMicroUsd: 0,
    retry: null,
    questionId: null,
    end: null,
  };
}

/** `progress` after one more committed result. The answer is a new value: `progress` itself does not change. */
export function applyResult(progress: Progress, checkpoint: Checkpoint): Progress {
  return {
    state: { ...progress.state, ...checkpoint.set },
    history: [...progress.history, checkpoint],
    next: checkpoint.next,
    turns: [],
    rewinds: progress.rewinds,
    costOfRetriesMicroUsd: progress.costOfRetriesMicroUsd,
    retry: null,
    questionId: null,
    end: null,
  };
}

/**
 * The progress of a run with this journal, from the state `initial` on. `entries` in the order of `seq`.
 *
 * Linear in the number of entries: `applyResult` for each would copy the whole history each time.
 */
export function fold(initial: JsonObject, entries: readonly StoredEntry[]): Progress {
  const progress = initialProgress(initial);
  for (const counted of countedEntries(entries)) {
    const entry = recordOf(counted);
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
        progress.end = null;
        break;
      case "note":
        break;
    }
  }
  return progress;
}

/** `applyResult` in place. */
function addResult(progress: Progress, checkpoint: Checkpoint): void {
  Object.assign(progress.state, checkpoint.set);
  progress.history.push(checkpoint);
  progress.next = checkpoint.next;
  progress.turns = [];
  progress.retry = null;
  progress.questionId = null;
  progress.end = null;
}

/** The entries that still count: a `rewind` removes those between its `keep_seq` and itself. */
export function countedEntries(entries: readonly StoredEntry[]): StoredEntry[] {
  let counted: StoredEntry[] = [];
  for (const entry of entries) {
    const rewind = entry.kind === "rewind" ? recordOf(entry) : null;
    if (rewind?.kind === "rewind") {
      const { keep_seq } = rewind.record;
      // Rewinds are counted, so all of them stay. Parks for a retry are removed, because tries start from 1 again. An end
      // below `keep_seq` stays for the result that it carries.
      counted = counted.filter((each) => each.kind === "rewind" || (each.seq <= keep_seq && !isRetry(each)));
    }
    counted.push(entry);
  }
  return counted;
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
