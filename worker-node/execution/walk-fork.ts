import { isFork } from "../../shared/contracts/definition/index.ts";
import type { ForkStep } from "../../shared/contracts/definition/index.ts";
import type { RunEvent } from "../../shared/contracts/event.ts";
import { getOrCreateTrack, stepPath } from "../../shared/journal/track.ts";
import type { Fork, Track } from "../../shared/journal/track.ts";
import { isUnknownVerb } from "../clients/http-state.ts";
import { isPure } from "../engine/steps/index.ts";
import { beginTrack, limitOf, runMs } from "./begin-fork.ts";
import { confirmResults } from "./execution-state.ts";
import { commitFailure, joinFork } from "./fork-results.ts";
import { Stop, withTimeout } from "./stop.ts";
import { chargeStopped } from "./visit.ts";
import type { Result } from "./visit-result.ts";
import { ResultRejected, trackFailure } from "./track-scope.ts";
import type { TrackEnd, TrackFailure, TrackScope } from "./track-scope.ts";
import { waitForStore } from "./wait-for-store.ts";

/** A track stops because another one of its fork has failed. */
class Abandoned extends Error {}

/** Moves the tracks of a fork to their ends by `walkTrack`, as many at a time as the step allows, and joins them. */
export async function walkFork(
  at: TrackScope,
  step: ForkStep,
  fork: Fork,
  walkTrack: WalkTrack,
): Promise<({ is: "result" } & Result) | ({ is: "failed" } & TrackFailure)> {
  const { state, track, signal, waits } = at;
  const leftMs = timeLeftMs(at, step, fork);
  const limit = timeLimit(at, step, leftMs);
  const onEnd = waits.limitUntil(performance.now() + leftMs);
  const walk = new ForkWalk(at, step, fork, limit, walkTrack);
  await walk.toEnd();
  limit.clear();
  onEnd();
  const { failed } = walk;
  if (signal.aborted) {
    // Nothing says that the step has failed: what its tracks have used is charged before the run is handed back, or with its end.
    const usage = [...(failed?.usage ?? []), ...state.unchargedUsage.splice(0)];
    await chargeStopped({ state, track, step, visit: fork.visit, signal }, usage);
    throw signal.reason;
  }
  if (!limit.signal.aborted) return joinFork(at, step, fork);
  if (failed) return { ...failed, step, visit: fork.visit };
  const reason: unknown = limit.signal.reason;
  if (!(reason instanceof Stop)) throw reason;
  const error = { code: reason.why, message: reason.message };
  const usage = state.unchargedUsage.splice(0);
  return { ...trackFailure(track, step, fork.visit, error), usage };
}

/** How much is left of the step's own time, in milliseconds; Infinity: it has no limit. */
function timeLeftMs(at: TrackScope, { timeout_seconds: seconds }: ForkStep, fork: Fork): number {
  return seconds === null ? Infinity : seconds * 1_000 - (runMs(at) - fork.run_ms);
}

/** Stops the tracks of a fork: with the track above it, or when the step's own time is over. */
function timeLimit(
  { signal, track }: TrackScope,
  { id, timeout_seconds: seconds }: ForkStep,
  leftMs: number,
): ReturnType<typeof withTimeout> {
  const message = `step "${stepPath(track, id)}" took longer than its ${seconds} s`;
  return withTimeout(signal, leftMs, () => new Stop("step_timeout", message));
}

type WalkTrack = (at: TrackScope) => Promise<TrackEnd>;
type Stopping = Pick<ReturnType<typeof withTimeout>, "signal" | "abort">;

/** The walk of one fork: it moves the fork's tracks, as many at a time as the step allows. */
class ForkWalk {
  readonly #at: TrackScope;
  readonly #step: ForkStep;
  readonly #fork: Fork;
  readonly #stop: Stopping;
  readonly #walkTrack: WalkTrack;
  /** How many tracks have begun. */
  #begun: number;
  /** The failure that fails the step. */
  failed: ({ is: "failed" } & TrackFailure) | null = null;

  constructor(at: TrackScope, step: ForkStep, fork: Fork, stop: Stopping, walkTrack: WalkTrack) {
    this.#at = at;
    this.#step = step;
    this.#fork = fork;
    this.#stop = stop;
    this.#walkTrack = walkTrack;
    this.#begun = Math.min(fork.count, limitOf(step, fork) + fork.endedCount);
  }

  /** Walks all tracks that have not ended, until they have, or `stop` is aborted. */
  async toEnd(): Promise<void> {
    const { waits } = this.#at;
    const begun = Array.from({ length: this.#begun }, (_, i) => i);
    const live = begun.filter((index) => this.#fork.ended[index] === undefined);
    // The track above gives its token to these tracks, and gets it back from the last of them.
    waits.enter(Math.max(0, live.length - 1));
    let moving = live.length;
    const walks = live.map(async (index) => {
      // When one track fails, the others stop. The step, or the run, fails with the first reason.
      await this.#walkFrom(index).catch((error: unknown) => this.#stop.abort(error));
      moving -= 1;
      if (moving > 0) waits.leave();
    });
    await Promise.all(walks);
  }

  /** Walks a track. When it ends, the next track that has not begun may begin in its place, and is walked too. */
  async #walkFrom(first: number): Promise<void> {
    for (let index: number | null = first; index !== null;) {
      let following: number | null = null;
      const onEnd = (): RunEvent[] => {
        if (this.#begun >= this.#fork.count || this.#stop.signal.aborted) return [];
        following = this.#begun++;
        return beginTrack(this.#at, this.#step, this.#fork, following);
      };
      const track = getOrCreateTrack(this.#at.track, index);
      const beginsLife = this.#at.beginsLife && index === first;
      const end = await this.#walkTrack({ ...this.#at, track, signal: this.#stop.signal, beginsLife, onEnd });
      if (end.is === "failed") await this.#onFailure(track, end, onEnd);
      index = following;
    }
  }

  async #onFailure(track: Track, end: TrackFailure, onEnd: () => RunEvent[]): Promise<void> {
    if (this.#step.on_branch_error === "collect" && !end.isOfRun) {
      commitFailure(this.#at, this.#fork, { track, failure: end, onEnd });
      if (isFork(end.step) || !isPure(end.step)) await this.#abandon(track);
      return;
    }
    this.failed ??= { is: "failed", ...end };
    throw new Abandoned("another track of the step has failed");
  }

  /**
   * Closes the questions below a track whose failure is to be committed, and cancels the children that it waited for. After the
   * commit: until then another worker may go on in the track. A death in between leaves them to the end of the run.
   */
  async #abandon({ path }: Track): Promise<void> {
    const { state } = this.#at;
    const { run, deps } = state;
    const rejected = await confirmResults(state);
    if (rejected) throw new ResultRejected(rejected);
    const abandon = () => deps.store.abandonTrack(run.run_id, path).catch(nothingOfOldEdge);
    deps.children.notify(await waitForStore(run, this.#stop.signal, abandon));
  }
}

/** Workers are deployed before edges: an edge of an earlier version leaves what is open to the end of the run. */
function nothingOfOldEdge(error: unknown): [] {
  if (isUnknownVerb(error)) return [];
  throw error;
}
