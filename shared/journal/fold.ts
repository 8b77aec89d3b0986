import {
  Checkpoint,
  EndRecord,
  ParkRecord,
  RewindRecord,
  TurnCheckpoint,
} from "../contracts/journal-entry.ts";
import type { RetryPark, StoredEntry } from "../contracts/journal-entry.ts";
import type { Json, JsonObject } from "../contracts/json.ts";

/** How far a run has come: the fold of its journal. Nothing else decides what a run does next. */
export type Progress = {
  state: JsonObject;
  /** Committed results, in the order of their commits. */
  history: Checkpoint[];
  /** The step to run next; undefined before the first result, null when the run is at its end. */
  next: string | null | undefined;
  /** What the visit in hand has reached inside its step. */
  turns: Json[];
  /** How often a client has had the run go on after its end: what is called again then is called anew. */
  rewinds: number;
  /** The retry that the visit in hand is in, if it failed before. */
  park: RetryPark | null;
  /** The name of the last question that the visit in hand has asked, in whichever life of the run. */
  asked: string | null;
  end: EndRecord | null;
};

/** The progress of a run that has committed nothing: `initialState` is what its schema and its request begin with. */
export function start(initialState: JsonObject): Progress {
  return {
    state: { ...initialState },
    history: [],
    next: undefined,
    turns: [],
    rewinds: 0,
    park: null,
    asked: null,
    end: null,
  };
}

/** `progress` after one more committed result. A new value: what an observer holds does not change under it. */
export function apply(progress: Progress, checkpoint: Checkpoint): Progress {
  return {
    state: { ...progress.state, ...checkpoint.set },
    history: [...progress.history, checkpoint],
    next: checkpoint.next,
    turns: [],
    rewinds: progress.rewinds,
    park: null,
    asked: null,
    end: null,
  };
}

/**
 * The progress that a journal tells, from `initialState` on. `entries` in the order of `seq`.
 *
 * Linear in the number of entries: results are gathered first and then laid over the state once.
 */
export function fold(initialState: JsonObject, entries: readonly StoredEntry[]): Progress {
  const progress = start(initialState);
  for (const entry of survivors(entries)) {
    if (entry.output === null) continue;
    const output: unknown = JSON.parse(entry.output);
    switch (entry.kind) {
      case "step":
        take(progress, Checkpoint.parse(output));
        break;
      case "turn":
        progress.turns.push(TurnCheckpoint.parse(output).data);
        break;
      case "park": {
        const park = ParkRecord.parse(output);
        if (park.reason === "retry") progress.park = park;
        else progress.asked = park.wait_id;
        break;
      }
      case "end": {
        const end = EndRecord.parse(output);
        if (end.checkpoint) take(progress, end.checkpoint);
        progress.end = end;
        break;
      }
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

function take(progress: Progress, checkpoint: Checkpoint): void {
  Object.assign(progress.state, checkpoint.set);
  progress.history.push(checkpoint);
  progress.next = checkpoint.next;
  progress.turns = [];
  progress.park = null;
  progress.asked = null;
  progress.end = null;
}

/** Entries that still count: a `rewind` cuts away the results between the place it keeps and itself. */
export function survivors(entries: readonly StoredEntry[]): StoredEntry[] {
  let kept: StoredEntry[] = [];
  for (const entry of entries) {
    if (entry.kind === "rewind" && entry.output !== null) {
      const { keep_seq } = RewindRecord.parse(JSON.parse(entry.output));
      // Rewinds are counted, so they stay. Retries start anew; an end that is kept is kept for its result alone.
      kept = kept.filter((each) => each.kind === "rewind" || (each.seq <= keep_seq && !isRetry(each)));
    }
    kept.push(entry);
  }
  return kept;
}

function isRetry({ kind, output }: StoredEntry): boolean {
  return kind === "park" && output !== null && ParkRecord.parse(JSON.parse(output)).reason === "retry";
}

/** How often each step has committed a result. */
export function visitsOf(progress: Progress, step: string): number {
  return progress.history.reduce((count, result) => count + (result.step === step ? 1 : 0), 0);
}
