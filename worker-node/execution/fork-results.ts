import type { ForkStep } from "../../shared/contracts/definition/index.ts";
import type { RunEvent } from "../../shared/contracts/event.ts";
import type { Usage } from "../../shared/contracts/journal-entry.ts";
import { addResult } from "../../shared/journal/fold.ts";
import { writeResult } from "../../shared/journal/records.ts";
import { stepPath } from "../../shared/journal/track.ts";
import type { Fork, Track } from "../../shared/journal/track.ts";
import { usageOfTurn } from "../engine/conversation-turns.ts";
import { inTrack, stepError } from "../engine/events.ts";
import { endOfTrack, toCheckpoint } from "../engine/machine.ts";
import { forkerOf } from "../engine/steps/index.ts";
import { deadlineOf } from "../journal/run-log.ts";
import { appendUnconfirmed, largeValuesAt } from "./execution-state.ts";
import { ifStored } from "./large-values.ts";
import type { Result } from "./visit-result.ts";
import type { TrackFailure, TrackScope } from "./track-scope.ts";

/** Commits that a track has failed, while the others go on. */
export function commitFailure(
  { state }: TrackScope,
  fork: Fork,
  failed: { track: Track; failure: TrackFailure; onEnd(): RunEvent[] },
): void {
  const { track, failure, onEnd } = failed;
  const { step, visit, path, error, tries, usage: own } = failure;
  const usage = [...own, ...state.unchargedUsage.splice(0)];
  const earlierUsage = turnUsageOf(track);
  const timing = { startedAt: new Date().toISOString(), durationMs: 0, tries, earlierUsage };
  const end = endOfTrack({ track, step, visit }, { set: {}, usage, effects: [] }, timing);
  const checkpoint = { ...end, error };
  if (track.fork) state.size.join(track.fork);
  state.size.end(track, fork);
  addResult(state.progress, checkpoint);
  const step_path = stepPath(track, step.id);
  const events = [{ ...stepError(step, error), ...(path !== null && { path }) }, ...onEnd()];
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

/** The usage that turns have charged in the current visits of a track and of the tracks below it: no result contains it yet. */
function turnUsageOf({ turns, fork }: Track): Usage[] {
  const below = [...(fork?.tracks.values() ?? [])];
  return [...turns.flatMap(usageOfTurn), ...below.flatMap(turnUsageOf)];
}

/** The result of a fork whose tracks have all ended. */
export async function joinFork(
  { state, scope, track }: TrackScope,
  step: ForkStep,
  fork: Fork,
): Promise<{ is: "result" } & Result> {
  const { definition } = scope;
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
    earlierUsage: track.turns.flatMap(usageOfTurn),
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
