import type { Checkpoint, ForkRecord, RetryPark } from "../contracts/journal-entry.ts";
import type { Json, JsonObject } from "../contracts/json.ts";

/**
 * One sequence of steps with its own view of state. A run begins as one track. A visit of a parallel or loop step divides a
 * track: each branch, or iteration, is a track of its own until the result of that visit joins them.
 */
export type Track = {
  /** The number of each branch or iteration that it is in, the outermost first; empty: the run's own track. */
  readonly place: readonly number[];
  /** `fanout[1]`, or `fanout[1].refine#2[0]` with the second visit of a step; empty: the run's own track. */
  readonly path: string;
  /** The state that its steps see. */
  state: JsonObject;
  /** The part of its state that its own steps have written. */
  own: JsonObject;
  /** The step to run next; undefined before the first result, null at the end. */
  next: string | null | undefined;
  /** The step of its newest result; null: it has none. */
  last: string | null;
  /** How many results each step has in this track. */
  visits: Map<string, number>;
  /** The turns of the current visit, in order: the `data` of each. */
  turns: Json[];
  /** The retry that the current visit waits for, if a try of it failed. */
  retry: RetryPark | null;
  /** How much of that wait was left when the journal was read. */
  retryInMs: number;
  /** The `wait_id` of the last wait that the current visit opened, in this life of the run or an earlier one. */
  waitId: string | null;
  /** The `wait_id` with which the current visit last waited for a budget. */
  budgetWait: string | null;
  /** The key that its last step with an `output_key` has written. */
  lastKey: string | null;
  /** The id of the step that has written each key of `own`, for the lists of a loop: two of its steps may write one key. */
  writers: Map<string, string>;
  /** The keys whose value is a list with an item for each branch of a parallel step, and the id of that step. */
  merged: Map<string, string>;
  /** The tracks of the current visit, if its step divides this track. */
  fork: Fork | null;
};

/** The tracks of one visit of a parallel or loop step. */
export type Fork = ForkRecord & {
  readonly step: string;
  readonly visit: number;
  /** Tracks that have an entry in the journal and have not ended, by number. */
  readonly tracks: Map<number, Track>;
  /** The tracks that have ended, by number. */
  readonly ended: EndedTrack[];
  endedCount: number;
  /** In rounds: what the rounds so far have written. */
  readonly carried: JsonObject;
};

/**
 * What is left of a track that has ended. `kept`: the keys that the join needs. `writers`: of an iteration, the id of the step that has
 * written each of them. `output`: the value of its last `output_key`; null: none.
 */
export type EndedTrack = {
  kept: JsonObject;
  writers: Readonly<Record<string, string>>;
  output: Json;
  error: { code: string; message: string; step_id: string } | null;
};

/** A run's own track before its first result. */
export function rootTrack(state: JsonObject): Track {
  return newTrack([], "", { ...state });
}

function newTrack(place: readonly number[], path: string, state: JsonObject): Track {
  return {
    place,
    path,
    state,
    own: {},
    next: undefined,
    last: null,
    visits: new Map(),
    turns: [],
    retry: null,
    retryInMs: 0,
    waitId: null,
    budgetWait: null,
    lastKey: null,
    writers: new Map(),
    merged: new Map(),
    fork: null,
  };
}

/** How often a step has a result in this track. */
export function visitsOf(track: Track, step: string): number {
  return track.visits.get(step) ?? 0;
}

/** `fanout[1].draft`: a step with the track that it is in. */
export function stepPath({ path }: Pick<Track, "path">, step: string): string {
  return path === "" ? step : `${path}.${step}`;
}

/** The step at the end of a step's path. */
export function stepOfPath(path: string): string {
  const end = path.lastIndexOf("].");
  return end < 0 ? path : path.slice(end + 2);
}

/** The path of the step that a wait belongs to. The name of a wait is `<path>:<visit>`, with a suffix after a client's retry. */
export function pathOfWait({ wait_id, step_id }: { wait_id: string; step_id: string }): string {
  if (wait_id.startsWith(`${step_id}:`)) return step_id;
  const start = wait_id.lastIndexOf(`].${step_id}:`);
  return start < 0 ? step_id : `${wait_id.slice(0, start)}].${step_id}`;
}

/** How records name a track: not at all, if it is the run's own. */
export function placeOf({ place }: Pick<Track, "place">): { track?: readonly number[] } {
  return place.length === 0 ? {} : { track: place };
}

/**
 * The track at a place below `root`. A track on the way that has no entry yet begins here.
 * @throws Error when no step has divided the track above it
 */
export function trackAt(root: Track, place: readonly number[] = []): Track {
  return place.reduce(getOrCreateTrack, root);
}

/** The track with this number in the current fork of `track`. A track without an entry in the journal begins here. */
export function getOrCreateTrack(track: Track, index: number): Track {
  const { fork } = track;
  if (fork === null) throw new Error(`nothing has divided the track "${track.path}"`);
  const known = fork.tracks.get(index);
  if (known !== undefined) return known;
  const name = fork.visit === 1 ? fork.step : `${fork.step}#${fork.visit}`;
  const path = `${stepPath(track, name)}[${index}]`;
  const child = newTrack([...track.place, index], path, { ...track.state, ...fork.carried });
  child.merged = new Map(track.merged);
  fork.tracks.set(index, child);
  return child;
}

/** Begins the fork of a visit of `step`, which divides `track`. */
export function beginFork(track: Track, step: string, visit: number, record: ForkRecord): Fork {
  const fork: Fork = { ...record, step, visit, tracks: new Map(), ended: [], endedCount: 0, carried: {} };
  track.fork = fork;
  return fork;
}

/** Applies a result to the track that it belongs to. */
export function applyToTrack(root: Track, checkpoint: Checkpoint): void {
  const { track: place = [], step, set, next, output_key, error } = checkpoint;
  const track = trackAt(root, place);
  const joined = track.fork === null || error !== undefined ? {} : joinedKeys(track.fork);
  const written = { ...joined, ...set };
  Object.assign(track.state, written);
  Object.assign(track.own, written);
  track.next = error === undefined ? next : null;
  track.last = step;
  track.visits.set(step, visitsOf(track, step) + 1);
  track.turns = [];
  track.retry = null;
  track.waitId = null;
  track.budgetWait = null;
  for (const key of Object.keys(written)) {
    track.writers.set(key, step);
    track.merged.delete(key);
  }
  for (const key of track.fork?.merged ?? []) {
    if (Object.hasOwn(joined, key) && !Object.hasOwn(set, key)) track.merged.set(key, step);
  }
  track.fork = null;
  if (output_key !== null && Object.hasOwn(track.own, output_key)) track.lastKey = output_key;
  const index = place.at(-1);
  if (track.next !== null || index === undefined) return;
  endTrack(
    trackAt(root, place.slice(0, -1)),
    index,
    error === undefined ? null : { ...error, step_id: step },
  );
}

/** Removes a track that has ended, and keeps the part of its state that the join needs. */
function endTrack(parent: Track, index: number, error: EndedTrack["error"]): void {
  const { fork } = parent;
  const track = fork?.tracks.get(index);
  if (!fork || !track) throw new Error(`the track ${index} of "${parent.path}" has not begun`);
  if (fork.in === "rounds") Object.assign(fork.carried, track.own);
  const keeps = fork.in === "branches" ? () => true : isOutput;
  const kept = error === null ? Object.entries(track.own).filter(([key]) => keeps(key)) : [];
  const writers = fork.in === "branches" ? [] : [...track.writers].filter(([key]) => isOutput(key));
  const output = track.lastKey === null ? null : (track.own[track.lastKey] ?? null);
  fork.tracks.delete(index);
  fork.ended[index] = {
    kept: Object.fromEntries(kept),
    writers: Object.fromEntries(writers),
    output: error === null ? output : null,
    error,
  };
  fork.endedCount += 1;
}

/** After a loop, the engine's own keys and `human_response`, which every human step writes, do not become lists. */
function isOutput(key: string): boolean {
  return !key.startsWith("_") && key !== "human_response";
}

/**
 * The keys that the join of a fork writes.
 * - After branches: the keys that each has written. A merged key has the list of their values, null where a branch has not
 *   written it.
 * - After iterations: for each key that their steps write the list of its values, null where an iteration has not
 *   written it. After rounds also every other key that they have written, with its last value.
 */
export function joinedKeys({ in: kind, count, ended, carried, merged = [], listed = [] }: Fork): JsonObject {
  const keys = new Set([...listed.filter(isOutput), ...ended.flatMap(({ kept }) => Object.keys(kept))]);
  const listOf = (key: string) => [key, Array.from({ length: count }, (_, i) => ended[i]?.kept[key] ?? null)];
  if (kind === "branches") {
    const lists = merged.filter((key) => keys.has(key)).map(listOf);
    return Object.assign({}, ...ended.map(({ kept }) => kept), Object.fromEntries(lists));
  }
  return { ...carried, ...Object.fromEntries([...keys].map(listOf)) };
}
