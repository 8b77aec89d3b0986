import type { Step } from "../../shared/contracts/definition/index.ts";
import type { RunEvent } from "../../shared/contracts/event.ts";
import type { Checkpoint, ParkRecord, TurnCheckpoint, Usage } from "../../shared/contracts/journal-entry.ts";
import { writeResult } from "../../shared/journal/records.ts";
import type { EntryContent } from "../../shared/store/journal/new-entry.ts";
import type { NewWait } from "../../shared/store/runs/waits.ts";
import { stepStart } from "../engine/events.ts";

/** Time beyond a step's own before a run without a new entry counts as stuck. */
const DEADLINE_SLACK_MS = 30_000;

/** An entry as an execution appends it: the run log adds the fence and writes the events as lines. */
export type Append = EntryContent & { events: readonly RunEvent[] };

/** A wait that is too long to hold the run's slot. */
export type Parked = {
  is: "wait";
  /** `queued`: until a time. `paused`: for an answer from outside, at most until a time. That time is in `afterMs`. */
  status: "queued" | "paused";
  afterMs: number;
  park: ParkRecord;
  waits: readonly NewWait[];
  /**
   * The run's signals before the decision to wait: when more have come since, the park is refused. Null: no signal
   * matters to this wait.
   */
  signals: number | null;
  events: readonly RunEvent[];
  usage: readonly Usage[];
};

/** The result of a visit, with the start of the step that follows. */
export function stepEntry(
  result: { checkpoint: Checkpoint; events: readonly RunEvent[]; usage: readonly Usage[] },
  following: Step,
): Append {
  const { checkpoint, usage } = result;
  const events = [...result.events, stepStart(following)];
  return {
    kind: "step",
    step_path: checkpoint.step,
    visit: checkpoint.visit,
    output: writeResult(checkpoint, events),
    events,
    usage,
    deadline_ms: deadlineOf(following),
    current_step: following.id,
  };
}

/** A checkpoint inside a visit of `step`, before its result. */
export function turnEntry(step: Step, turn: TurnCheckpoint, usage: readonly Usage[]): Append {
  const output = JSON.stringify(turn);
  const deadline_ms = deadlineOf(step);
  return { kind: "turn", step_path: turn.step, visit: turn.visit, output, events: [], usage, deadline_ms };
}

/** Parks the run until it is due in `delayMs`. `signals`: the value on which the decision to park is based. */
export function parkEntry(parked: Parked, delayMs: number, signals: number): Append {
  const { status, park, waits, events, usage } = parked;
  return {
    kind: "park",
    step_path: park.step,
    visit: park.visit,
    output: JSON.stringify(park),
    events,
    usage,
    status,
    wake_ms: Math.ceil(delayMs),
    waits,
    signals,
  };
}

/** The longest time without a new entry while a worker runs this step. */
export function deadlineOf(step: Step): number {
  return step.timeout_seconds * 1_000 + DEADLINE_SLACK_MS;
}
