import type { Step } from "../../shared/contracts/definition/index.ts";
import type { RunEvent } from "../../shared/contracts/event.ts";
import type { Checkpoint, ParkRecord, TurnCheckpoint, Usage } from "../../shared/contracts/journal-entry.ts";
import { stepStart } from "../engine/events.ts";
import type { NewWait } from "../../shared/store/runs/waits.ts";
import type { Append, Outcome, RunLog } from "./run-log.ts";
import { Stop } from "../execution/stop.ts";

/** What a worker may take beyond a step's own time before a run that shows nothing is taken for stuck. */
const DEADLINE_SLACK_MS = 30_000;

/** What became of an entry; `fenced` is thrown. */
type Heard = Exclude<Outcome, { is: "fenced" }>;

/** A wait that is too long to hold the run's slot meanwhile. */
export type Parked = {
  is: "wait";
  /** `queued`: for a time. `paused`: for somebody outside, and this is how long at most. */
  status: "queued" | "paused";
  afterMs: number;
  park: ParkRecord;
  waits: readonly NewWait[];
  /** Of the run, before it was decided to wait: if more has come since, the park is refused. Null: nothing to miss. */
  signals: number | null;
  events: readonly RunEvent[];
  usage: readonly Usage[];
};

/** An entry after which its run goes on. */
const GOES_ON = { status: null, wake_ms: null, waits: [], error: null, dead_letter: null } as const;

/**
 * The entries that one execution writes into its run's journal. With each it hears what came from outside meanwhile:
 * a run that is another's now throws a Stop (`lost`), a cancel aborts `stop` with one.
 */
export class EntryWriter {
  readonly #log: RunLog;
  readonly #stop: AbortController;

  constructor(log: RunLog, stop: AbortController) {
    this.#log = log;
    this.#stop = stop;
  }

  /** The step that is tried from here on: what is noted belongs to it, and it has its own time to show something. */
  begin(step: Step): void {
    this.#log.currentStep = step.id;
    this.#log.noteDeadlineMs = deadlineOf(step);
  }

  note(events: readonly RunEvent[]): void {
    this.#log.note(events);
  }

  /** The result of a step. The start of the `following` one is told with it. */
  async result(
    visited: { checkpoint: Checkpoint; events: readonly RunEvent[]; usage: readonly Usage[] },
    following: Step,
  ): Promise<Heard> {
    const { checkpoint, events, usage } = visited;
    return this.append({
      ...GOES_ON,
      kind: "step",
      step_path: checkpoint.step,
      visit: checkpoint.visit,
      output: JSON.stringify(checkpoint),
      events: [...events, stepStart(following)],
      usage,
      steps: 1,
      deadline_ms: deadlineOf(following),
      current_step: following.id,
    });
  }

  /** What a step has come to before its result. */
  async turn(step: Step, turn: TurnCheckpoint, usage: readonly Usage[]): Promise<Heard> {
    return this.append({
      ...GOES_ON,
      kind: "turn",
      step_path: turn.step,
      visit: turn.visit,
      output: JSON.stringify(turn),
      events: [],
      usage,
      steps: 0,
      deadline_ms: deadlineOf(step),
      current_step: step.id,
    });
  }

  /** Gives the run back until it is due, in `delayMs`. `refused`: something came from outside that it has not seen. */
  async park({ status, park, waits, signals, events, usage }: Parked, delayMs: number): Promise<Heard> {
    return this.append({
      ...GOES_ON,
      kind: "park",
      step_path: park.step,
      visit: park.visit,
      output: JSON.stringify(park),
      events,
      usage,
      steps: 0,
      deadline_ms: 0,
      current_step: park.step,
      status,
      wake_ms: Math.ceil(delayMs),
      waits,
      ...(signals === null ? {} : { signals }),
    });
  }

  /** What came from outside, as far as this worker has heard. */
  get signals(): number {
    return this.#log.signals;
  }

  /** Any entry. */
  async append(entry: Append): Promise<Heard> {
    const outcome = await this.#log.append(entry);
    if (outcome.is === "fenced") {
      const lost = new Stop("superseded", "the run is another worker's now");
      this.#stop.abort(lost);
      throw lost;
    }
    if (outcome.is !== "rejected") {
      this.#log.signals = outcome.signals;
      const goesOn = entry.status === null || outcome.is === "refused";
      if (outcome.cancel && goesOn) this.#stop.abort(new Stop("cancel", "the run was cancelled"));
    }
    return outcome;
  }
}

function deadlineOf(step: Step): number {
  return step.timeout_seconds * 1_000 + DEADLINE_SLACK_MS;
}
