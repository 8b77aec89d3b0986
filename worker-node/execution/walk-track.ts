import { isFork } from "../../shared/contracts/definition/index.ts";
import type { Step } from "../../shared/contracts/definition/index.ts";
import { whenStateTooLarge } from "../../shared/journal/size-limits.ts";
import { addResult } from "../../shared/journal/fold.ts";
import { writeResult } from "../../shared/journal/records.ts";
import { joinedKeys, stepPath, trackAt } from "../../shared/journal/track.ts";
import type { Track } from "../../shared/journal/track.ts";
import { stepStart } from "../engine/events.ts";
import { usageOfTurn } from "../engine/conversation-turns.ts";
import { costOf, next } from "../engine/machine.ts";
import type { Next } from "../engine/machine.ts";
import { isPure } from "../engine/steps/index.ts";
import { deadlineOf } from "../journal/run-log.ts";
import type { Append } from "../journal/run-log.ts";
import { appendUnconfirmed, confirmResults, largeValuesAt } from "./execution-state.ts";
import type { ExecutionState, LongWait } from "./execution-state.ts";
import { chargeStopped, visitStep } from "./visit.ts";
import type { Result, Visited } from "./visit-result.ts";
import { trackFailure, ResultRejected } from "./track-scope.ts";
import type { TrackEnd, TrackScope } from "./track-scope.ts";
import { beginFork } from "./begin-fork.ts";
import { walkFork } from "./walk-fork.ts";

/**
 * The most unconfirmed results. When there are as many, even a step without effects waits for their commits, because the
 * worker notices a cancel at a commit.
 */
const MAX_UNCONFIRMED = 32;

/** Moves a track from step to step and through its waits, to its end. */
export async function walkTrack(at: TrackScope): Promise<TrackEnd> {
  const { state, track, scope, waits, signal } = at;
  await waits.restOfRetry(track, signal);
  let todo = next(scope.definition, state.progress, track);
  if (at.beginsLife && todo.do === "step" && !track.fork) state.runLog.note([stepStart(todo.step, track)]);
  while (todo.do === "step") {
    const { step, visit } = todo;
    signal.throwIfAborted();
    if (!isPure(step) || state.unconfirmed.size >= MAX_UNCONFIRMED) {
      const rejected = await confirmResults(state);
      if (rejected) throw new ResultRejected(rejected);
      signal.throwIfAborted();
    }
    const visited = await visitOnce(at, step, visit);
    if (visited.is === "waited") continue;
    if (visited.is === "failed") return visited;
    const tooLarge = whenStateTooLarge(
      `the state of the run after step "${stepPath(track, step.id)}"`,
      sizeAfter(state, track, visited),
    );
    if (tooLarge)
      return { ...trackFailure(track, step, visit, tooLarge), usage: visited.usage, isOfRun: true };
    addResult(state.progress, visited.checkpoint);
    todo = next(scope.definition, state.progress, track);
    if (todo.do === "end" && track.place.length === 0) return { is: "ended", todo, last: visited };
    appendUnconfirmed(state, stepPath(track, step.id), stepEntry(at, visited, todo));
  }
  if (todo.status === "completed" || track.place.length === 0) return { is: "ended", todo, last: null };
  const step = scope.definition.steps.find(({ id }) => id === track.next) ?? at.scope.definition.steps[0];
  if (step === undefined) throw new Error(todo.error.message);
  const visit = (track.visits.get(step.id) ?? 0) + 1;
  const failure = trackFailure(track, step, visit, todo.error);
  return todo.error.step_id === null ? { ...failure, path: null, isOfRun: true } : failure;
}

/** How the visit of a step went on. */
type StepOutcome = ({ is: "result" } & Result) | Extract<TrackEnd, { is: "failed" }> | { is: "waited" };

/** Visits a step until it has a result, has failed, or has waited. After a wait the track decides anew what it does next. */
async function visitOnce(at: TrackScope, step: Step, visit: number): Promise<StepOutcome> {
  const { state, scope, track, signal } = at;
  if (isFork(step) && track.fork) return walkFork(at, step, track.fork, walkTrack);
  const path = stepPath(track, step.id);
  const large = largeValuesAt(state, `${encodeURIComponent(path)}/${visit}.${state.run.attempt}`, signal);
  const endStep = needsPermit(at, step) ? await permitFor(at) : null;
  state.runLog.begin(path, step);
  let visited: Visited;
  try {
    visited = await visitStep({ state, scope, track, step, visit, large, signal });
  } finally {
    state.runLog.leave(path);
    endStep?.();
  }
  switch (visited.is) {
    case "result":
      return visited;
    case "wait":
      await waitFor(at, step, visit, visited);
      return { is: "waited" };
    case "failed":
      return { ...trackFailure(track, step, visit, visited.error), ...visited };
    case "forked":
      if (!isFork(step)) throw new Error(`step "${step.id}" cannot divide its track`);
      // The entry that begins the fork has the first events of its tracks.
      return walkFork({ ...at, beginsLife: false }, step, beginFork(at, step, visit, visited), walkTrack);
  }
}

/** Waits as a visit asks. What the visit has spent counts meanwhile: other branches must not spend it too. */
async function waitFor(at: TrackScope, step: Step, visit: number, wait: LongWait): Promise<void> {
  const { state, track, waits, signal } = at;
  const spent = (): number => costOf(track.turns.flatMap(usageOfTurn));
  state.spending.add(spent);
  try {
    await waits.suspend(track, wait, signal);
  } catch (error) {
    if (!(await waits.hasCharged(wait))) await chargeStopped({ ...at, step, visit }, wait.usage);
    throw error;
  } finally {
    state.spending.delete(spent);
  }
}

/** Whether the step has effects in a branch or an iteration: then it needs one of the worker's permits. */
function needsPermit({ track }: TrackScope, step: Step): boolean {
  return track.place.length > 0 && !isPure(step);
}

/**
 * Waits for a permit, so that the many tracks of one run do not use up those of the worker. The step's own timeout begins after this
 * wait.
 * @returns a function that the caller calls once when the step has ended
 */
function permitFor({ state: { run, deps }, signal }: TrackScope): Promise<() => void> {
  return deps.trackLimiter.take(run.run_id, run.tenant_id, signal);
}

/** The size of the run's state with a result that is about to be applied. */
function sizeAfter({ size, progress }: ExecutionState, track: Track, { checkpoint }: Result): number {
  const { fork } = track;
  if (fork) {
    const joined = joinedKeys(fork);
    size.join(fork);
    size.set(track, joined);
  }
  size.set(track, checkpoint.set);
  const { fork: around } = trackAt(progress, track.place.slice(0, -1));
  if (checkpoint.next === null && around && track.place.length > 0) size.end(track, around);
  return size.bytes;
}

/** The result of a visit, with the start of the step that follows, or of the track that begins when this one ends. */
function stepEntry(
  { track, onEnd }: TrackScope,
  { checkpoint, usage, artifacts = [], ...result }: Result,
  todo: Next,
): Append {
  const following = todo.do === "step" ? todo.step : null;
  const begun = following ? [stepStart(following, track)] : track.next === null ? onEnd() : [];
  const events = [...result.events, ...begun];
  const path = stepPath(track, checkpoint.step);
  return {
    kind: "step",
    step_path: path,
    visit: checkpoint.visit,
    output: writeResult(checkpoint, events),
    events,
    usage,
    artifacts,
    deadline_ms: deadlineOf(following),
    current_step: following ? stepPath(track, following.id) : path,
  };
}
