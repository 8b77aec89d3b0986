import type { Step } from "../../shared/contracts/definition/index.ts";
import type { RunEvent } from "../../shared/contracts/event.ts";
import { stepPath } from "../../shared/journal/track.ts";
import type { Track } from "../../shared/journal/track.ts";
import type { Next } from "../engine/machine.ts";
import type { ExecutionState, RejectedResult, RunScope } from "./execution-state.ts";
import type { FailedVisit, Result } from "./visit-result.ts";
import type { Waits } from "./waits.ts";

/** What the walk of one track has: what all steps of its run have in common, the track, and what surrounds it. */
export type TrackScope = {
  state: ExecutionState;
  scope: RunScope;
  waits: Waits;
  track: Track;
  /** Aborted when the run stops, or the fork that the track is in. */
  signal: AbortSignal;
  /** True when a life of the run begins here: no entry has the `step_start` of the step with which the track goes on. */
  beginsLife: boolean;
  /** Chooses the track that begins when this one ends. Its first events are committed with the last result of this one. */
  onEnd(): RunEvent[];
};

/** How a track ended. The result with which the run's own track ends is not committed yet: the end of the run carries it. */
export type TrackEnd =
  | { is: "ended"; todo: Extract<Next, { do: "end" }>; last: Result | null }
  | ({ is: "failed" } & TrackFailure);

/** How a track failed, besides that it did. */
export type TrackFailure = Omit<FailedVisit, "is"> & {
  /** The visit of the track's own step. It may have failed in a branch of that step. */
  step: Step;
  visit: number;
  /** The path of the step that failed; null: a limit of the run was reached, between two steps. */
  path: string | null;
  /** True: the failure is one of the whole run, which fails whatever `on_branch_error` says. False: it is one of this branch. */
  isOfRun: boolean;
};

/** Postgres will never take a result: the run fails, with the results before it. */
export class ResultRejected extends Error {
  readonly result: RejectedResult;

  constructor(result: RejectedResult) {
    super(result.message);
    this.result = result;
  }
}

/** The failure of a visit of a step of `track`. */
export function trackFailure(
  track: Track,
  step: Step,
  visit: number,
  { code, message }: { code: string; message: string },
): { is: "failed" } & TrackFailure {
  return {
    is: "failed",
    step,
    visit,
    path: stepPath(track, step.id),
    error: { code, message },
    tries: 1,
    firstFailedAt: null,
    cause: undefined,
    usage: [],
    isOfRun: false,
  };
}
