import { listedKeys, mergedKeys } from "../../shared/contracts/definition/index.ts";
import type { ForkStep } from "../../shared/contracts/definition/index.ts";
import type { RunEvent } from "../../shared/contracts/event.ts";
import { addTurn } from "../../shared/journal/fold.ts";
import { getOrCreateTrack, placeOf, stepPath } from "../../shared/journal/track.ts";
import type { Fork, Track } from "../../shared/journal/track.ts";
import { inTrack, stepStart } from "../engine/events.ts";
import { next } from "../engine/machine.ts";
import { forkerOf } from "../engine/steps/index.ts";
import { deadlineOf } from "../journal/run-log.ts";
import { appendUnconfirmed } from "./execution-state.ts";
import type { Forked } from "./visit-result.ts";
import type { TrackScope } from "./track-scope.ts";

/** Begins a visit of a parallel or loop step: commits the fork, with the first events of the tracks that begin with it. */
export function beginFork(at: TrackScope, step: ForkStep, visit: number, forked: Forked): Fork {
  const { state, track } = at;
  const { in: kind, count } = forked;
  const run_ms = runMs(at);
  const { steps } = at.scope.definition;
  const [merged, listed] = [mergedKeys(step, steps), listedKeys(step, steps)];
  const record = {
    in: kind,
    count,
    began_at: new Date().toISOString(),
    ...(merged.length > 0 && { merged }),
    ...(listed.length > 0 && { listed }),
    run_ms,
  };
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

/** How long the run has been executed, in milliseconds: its pauses do not count. */
export function runMs({ scope }: TrackScope): number {
  return Math.max(0, scope.definition.timeout_minutes * 60_000 - (scope.endsAtMs - performance.now()));
}

/** How many tracks of a fork move at the same time. */
export function limitOf(step: ForkStep, { count }: Fork): number {
  return step.concurrency ?? (step.type === "parallel" ? Math.max(1, count) : 1);
}

/** The events with which a track begins. */
export function beginTrack(
  { state, scope, track }: TrackScope,
  step: ForkStep,
  fork: Fork,
  index: number,
): RunEvent[] {
  const child = getOrCreateTrack(track, index);
  const todo = next(scope.definition, state.progress, child);
  const begun = inTrack(track, forkerOf(step).track(step, index, fork));
  return todo.do === "step" ? [begun, stepStart(todo.step, child)] : [begun];
}
