import type { Step } from "../../shared/contracts/definition/index.ts";
import type { TurnCheckpoint, Usage } from "../../shared/contracts/journal-entry.ts";
import { stepPath } from "../../shared/journal/track.ts";
import type { Track } from "../../shared/journal/track.ts";
import type { NewArtifact } from "../../shared/store/files/new-artifact.ts";
import { deadlineOf } from "../journal/run-log.ts";
import type { Append } from "../journal/run-log.ts";

/** A checkpoint inside a visit of `step`, before its result. */
export function turnEntry(
  { track, step }: { track: Track; step: Step },
  turn: TurnCheckpoint,
  usage: readonly Usage[],
  artifacts: readonly NewArtifact[] = [],
): Append {
  const output = JSON.stringify(turn);
  const [step_path, deadline_ms] = [stepPath(track, step.id), deadlineOf(step)];
  return { kind: "turn", step_path, visit: turn.visit, output, events: [], usage, artifacts, deadline_ms };
}
