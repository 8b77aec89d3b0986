import { mergedKeys } from "../../shared/contracts/definition/index.ts";
import type { ForkStep } from "../../shared/contracts/definition/index.ts";
import type { RunEvent } from "../../shared/contracts/event.ts";
import type { Checkpoint } from "../../shared/contracts/journal-entry.ts";
import { addResult, addTurn } from "../../shared/journal/fold.ts";
import { writeResult } from "../../shared/journal/records.ts";
import { childOf, placeOf, stepPath } from "../../shared/journal/track.ts";
import type { Fork, Track } from "../../shared/journal/track.ts";
import { inTrack, stepError, stepStart } from "../engine/events.ts";
import { costOf, next, toCheckpoint } from "../engine/machine.ts";
import { forkerOf } from "../engine/steps/index.ts";
import { deadlineOf } from "../journal/run-log.ts";
import { appendUnconfirmed, largeValuesAt } from "./execution-state.ts";
import { ifStored } from "./large-values.ts";
import { Stop, withTimeout } from "./stop.ts";
import type { Forked, Result } from "./visit.ts";
import { failureOf } from "./track-walk.ts";
import type { TrackEnd, TrackFailure, TrackWalk } from "./track-walk.ts";

/** A track stops because another one of its fork has failed. */
class Abandoned extends Error {}

/** Begins a visit of a parallel or loop step: its tracks, and the first events of those that move at once. */
export function beginFork(at: TrackWalk, step: ForkStep, visit: number, forked: Forked): Fork {
  const { state, track } = at;
  const { in: kind, count } = forked;
  const run_ms = runMs(at);
  const merged = mergedKeys(step, at.walk.definition.steps);
  const began = { in: kind, count, began_at: new Date().toISOString(), run_ms };
  const record = merged.length === 0 ? began : { ...began, merged };
  const turn = { ...placeOf(track), step: step.id, visit, data: null, fork: record };
  addTurn(state.progress, turn);
  const fork = forkOf(track);
  const first = Math.min(count, limitOf(step, fork));
  const path = stepPath(track, step.id);
  appendUnconfirmed(state, path, {
    kind: "turn",
    step_path: path,
    visit,
    output: JSON.stringify(turn),
    events: [
      ...forked.events.map((event) => inTrack(track, event)),
      ...Array.from({ length: first }, (_, index) => beginTrack(at, step, fork, index)).flat(),
    ],
    usage: [],
    deadline_ms: deadlineOf(step),
  });
  return fork;
}

function forkOf({ fork, path }: Track): Fork {
  if (fork === null) throw new Error(`nothing has divided the track "${path}"`);
  return fork;
}

/** How long the run has run, without pauses. */
function runMs({ walk }: TrackWalk): number {
  return Math.max(0, walk.definition.timeout_minutes * 60_000 - (walk.endsAtMs - performance.now()));
}

/** How many tracks of a fork move at the same time. */
function limitOf(step: ForkStep, { count }: Fork): number {
  return step.concurrency ?? (step.type === "parallel" ? Math.max(1, count) : 1);
}

/** The events with which a track begins. */
function beginTrack(
  { state, walk, track }: TrackWalk,
  step: ForkStep,
  fork: Fork,
  index: number,
): RunEvent[] {
  const child = childOf(track, index);
  const todo = next(walk.definition, state.progress, child);
  const begun = inTrack(track, forkerOf(step).track(step, index, fork));
  return todo.do === "step" ? [begun, stepStart(todo.step, child)] : [begun];
}

/** Moves the tracks of a fork to their ends by `walkTrack`, as many at a time as the step allows, and joins them. */
export async function walkFork(
  at: TrackWalk,
  step: ForkStep,
  fork: Fork,
  walkTrack: WalkTrack,
): Promise<({ is: "result" } & Result) | ({ is: "failed" } & TrackFailure)> {
  const { state, track, signal } = at;
  const limit = timeLimit(at, step, fork);
  const tracks = new TracksOf(at, step, fork, limit, walkTrack);
  await tracks.walk();
  limit.clear();
  signal.throwIfAborted();
  if (!limit.signal.aborted) return joined(at, step, fork);
  const { failed } = tracks;
  if (failed) return { ...failed, step, visit: fork.visit };
  const reason: unknown = limit.signal.reason;
  if (!(reason instanceof Stop)) throw reason;
  const error = { code: reason.why, message: reason.message };
  const usage = state.unchargedUsage.splice(0);
  return { ...failureOf(track, step, fork.visit, error), usage };
}

/** Stops the tracks of a fork: with the track above it, or when the step's own time is over. */
function timeLimit(at: TrackWalk, step: ForkStep, fork: Fork): ReturnType<typeof withTimeout> {
  const { timeout_seconds: seconds } = step;
  const leftMs = seconds === null ? Infinity : seconds * 1_000 - (runMs(at) - fork.run_ms);
  const message = `step "${stepPath(at.track, step.id)}" took longer than its ${seconds} s`;
  return withTimeout(at.signal, leftMs, () => new Stop("step_timeout", message));
}

type WalkTrack = (at: TrackWalk) => Promise<TrackEnd>;
type Stopping = Pick<ReturnType<typeof withTimeout>, "signal" | "abort">;

/** The tracks of one fork. */
class TracksOf {
  readonly #at: TrackWalk;
  readonly #step: ForkStep;
  readonly #fork: Fork;
  readonly #stop: Stopping;
  readonly #walkTrack: WalkTrack;
  /** How many tracks have begun. */
  #begun: number;
  /** The failure that fails the step. */
  failed: ({ is: "failed" } & TrackFailure) | null = null;

  constructor(at: TrackWalk, step: ForkStep, fork: Fork, stop: Stopping, walkTrack: WalkTrack) {
    this.#at = at;
    this.#step = step;
    this.#fork = fork;
    this.#stop = stop;
    this.#walkTrack = walkTrack;
    this.#begun = Math.min(fork.count, limitOf(step, fork) + fork.endedCount);
  }

  /** Walks all tracks that have not ended, until they have, or `stop` is aborted. */
  async walk(): Promise<void> {
    const { waits } = this.#at;
    const begun = Array.from({ length: this.#begun }, (_, i) => i);
    const live = begun.filter((index) => this.#fork.ended[index] === undefined);
    // The track above gives its token to these, and gets it back from the last of them.
    waits.enter(Math.max(0, live.length - 1));
    let moving = live.length;
    const walks = live.map(async (index) => {
      // When one fails, the others stop. The first reason is what the step, or the run, fails with.
      await this.#walkFrom(index).catch((error: unknown) => this.#stop.abort(error));
      moving -= 1;
      if (moving > 0) waits.leave();
    });
    await Promise.all(walks);
  }

  /** Walks a track, and after each one that ends the one that begins with its end. */
  async #walkFrom(first: number): Promise<void> {
    for (let index: number | null = first; index !== null;) {
      let following: number | null = null;
      const onEnd = (): RunEvent[] => {
        if (this.#begun >= this.#fork.count || this.#stop.signal.aborted) return [];
        following = this.#begun++;
        return beginTrack(this.#at, this.#step, this.#fork, following);
      };
      const track = childOf(this.#at.track, index);
      const restarts = this.#at.restarts && index === first;
      const end = await this.#walkTrack({ ...this.#at, track, signal: this.#stop.signal, restarts, onEnd });
      if (end.is === "failed") this.#onFailure(track, end, onEnd);
      index = following;
    }
  }

  #onFailure(track: Track, end: TrackFailure, onEnd: () => RunEvent[]): void {
    if (this.#step.on_branch_error === "collect" && !end.isOfRun) {
      commitFailure(this.#at, this.#fork, track, end, onEnd);
      return;
    }
    this.failed ??= { is: "failed", ...end };
    throw new Abandoned("another track of the step has failed");
  }
}

/** Commits that a track has failed, while the others go on. */
function commitFailure(
  { state }: TrackWalk,
  fork: Fork,
  track: Track,
  { step, visit, path, error, tries, usage: own }: TrackFailure,
  onEnd: () => RunEvent[],
): void {
  const usage = [...own, ...state.unchargedUsage.splice(0)];
  const checkpoint: Checkpoint = {
    ...placeOf(track),
    step: step.id,
    visit,
    type: step.type,
    name: step.name,
    set: {},
    next: null,
    output_key: step.output_key,
    started_at: new Date().toISOString(),
    duration_ms: 0,
    tries,
    tokens: usage.reduce((sum, call) => sum + call.input_tokens + call.output_tokens, 0),
    cost_micro_usd: costOf(usage),
    effects: [],
    error,
  };
  if (track.fork) state.size.join(track.fork);
  state.size.end(track, fork);
  addResult(state.progress, checkpoint);
  const step_path = stepPath(track, step.id);
  const events = [{ ...stepError(step, error), path }, ...onEnd()];
  appendUnconfirmed(state, step_path, {
    kind: "step",
    step_path,
    visit,
    output: writeResult(checkpoint, events),
    events,
    usage,
    deadline_ms: deadlineOf(null),
    current_step: step_path,
  });
}

/** The result of a fork whose tracks have all ended. */
async function joined(
  { state, walk, track }: TrackWalk,
  step: ForkStep,
  fork: Fork,
): Promise<{ is: "result" } & Result> {
  const { definition } = walk;
  const { visit } = fork;
  const large = largeValuesAt(
    state,
    `${encodeURIComponent(stepPath(track, step.id))}/${visit}.${state.run.attempt}`,
  );
  const result = forkerOf(step).join(step, fork, definition.steps);
  const stored = { ...result, set: await ifStored(large.storeValues(result.set), result.set) };
  const { checkpoint, events } = toCheckpoint({ definition, track, step, visit }, stored, {
    startedAt: fork.began_at,
    durationMs: Math.max(0, Date.now() - Date.parse(fork.began_at)),
    tries: 1,
    earlierUsage: [],
  });
  const named = events.map((event) => inTrack(track, event));
  return {
    is: "result",
    checkpoint,
    response: result.response && (await ifStored(large.storeResponse(result.response), result.response)),
    events: await ifStored(large.storeEvents(named), named),
    usage: [],
  };
}
