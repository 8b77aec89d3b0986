import type { RunEvent } from "../../shared/contracts/event.ts";
import type { Incarnation, RunId } from "../../shared/contracts/ids.ts";
import type { Usage } from "../../shared/contracts/journal-entry.ts";
import { writeLine } from "../../shared/events/lines.ts";
import type { NewEntry } from "../../shared/store/journal/flush.ts";
import type { NewWait } from "../../shared/store/runs/waits.ts";

/** How long events wait for a result of their run to ride with, before they are committed alone. */
const NOTE_MS = 10;
/** The same for the text of models; the slower one while a flush takes longer than the quick one. */
const DELTA_MS = 50;
const SLOW_DELTA_MS = 250;

/** What an execution commits: an entry without what the journal knows by itself. */
export type Append = Pick<
  NewEntry,
  | "kind"
  | "step_path"
  | "visit"
  | "output"
  | "deadline_ms"
  | "current_step"
  | "status"
  | "wake_ms"
  | "error"
  | "dead_letter"
> & {
  events: readonly RunEvent[];
  usage: readonly Usage[];
  steps: 0 | 1;
  waits: readonly NewWait[];
  /** What came from outside until it was decided; absent: until now. */
  signals?: number;
};

/**
 * What became of an entry. `fenced`: the run is another's now, drop it in silence. `refused`: a park that has missed
 * something from outside, decide again. `rejected`: it holds something that Postgres will never take.
 */
export type Outcome =
  | { is: "committed"; signals: number; cancel: boolean }
  | { is: "fenced" }
  | { is: "refused"; signals: number; cancel: boolean }
  | { is: "rejected"; message: string };

const CHECKPOINT: RunEvent = { type: "checkpoint" };

/** `signals`: what had come from outside when it was decided, not when it is written: a park that missed one is refused. */
type Waiting = Append & {
  resolve(outcome: Outcome): void;
  notes: string[];
  lines: string[];
  signals: number;
};
/** An entry on its way, and what it was made of. */
export type InFlight = { log: RunLog; entry: NewEntry; notes: string[]; waiting: Waiting | null };

/** The journal of one run, as the worker that executes it writes it: in order, one entry in flight at a time. */
export class RunLog {
  readonly run: RunId;
  readonly attempt: number;
  readonly #correlationId: string;
  readonly #schedule: (log: RunLog) => void;
  readonly #lastFlushMs: () => number;
  knownSeq: number;
  signals: number;
  /** Events that no entry carries yet. */
  notes: string[] = [];
  notesDue = false;
  noteDeadlineMs = 60_000;
  currentStep: string | null = null;
  inFlight = false;
  #closed = false;
  /** In order: an execution that is stopped ends its run while a result of it may still wait. */
  readonly #waiting: Waiting[] = [];
  #timer: NodeJS.Timeout | undefined;
  #timerAtMs = Infinity;

  constructor(
    run: { run_id: RunId; attempt: number; event_seq: number; signals: number; correlation_id: string },
    schedule: (log: RunLog) => void,
    lastFlushMs: () => number,
  ) {
    this.run = run.run_id;
    this.attempt = run.attempt;
    this.knownSeq = run.event_seq;
    this.signals = run.signals;
    this.#correlationId = run.correlation_id;
    this.#schedule = schedule;
    this.#lastFlushMs = lastFlushMs;
  }

  /** Shows events: with the next result of this run, or by themselves within a moment. */
  note(events: readonly RunEvent[]): void {
    // Work that a step has left behind may still talk; nobody listens.
    if (this.#closed) return;
    this.notes.push(...this.#write(events));
    const onlyText = events.every((event) => event.type === "llm_delta");
    const waitMs = onlyText ? (this.#lastFlushMs() > DELTA_MS ? SLOW_DELTA_MS : DELTA_MS) : NOTE_MS;
    const atMs = performance.now() + waitMs;
    if (this.notesDue || atMs >= this.#timerAtMs) return;
    clearTimeout(this.#timer);
    this.#timerAtMs = atMs;
    this.#timer = setTimeout(() => {
      this.#timerAtMs = Infinity;
      this.notesDue = true;
      this.#schedule(this);
    }, waitMs);
  }

  /** Commits an entry, with the events noted so far before its own; answers once it is durable, however long that takes. */
  append(entry: Append): Promise<Outcome> {
    return new Promise((resolve) => {
      const notes = this.#takeNotes();
      // Every entry has a number of its own, so every entry has an event.
      const events = entry.events.length + notes.length > 0 ? entry.events : [CHECKPOINT];
      this.#waiting.push({ resolve, notes, lines: this.#write(events), signals: this.signals, ...entry });
      this.#schedule(this);
    });
  }

  /** Is there something to be committed now? */
  hasMore(): boolean {
    return this.#waiting.length > 0 || this.notesDue;
  }

  /** Takes what is to be committed next; null when there is nothing (yet). */
  take(owner: Incarnation): InFlight | null {
    if (this.inFlight || !this.hasMore()) return null;
    const waiting = this.#waiting.shift() ?? null;
    const notes = waiting?.notes ?? this.#takeNotes();
    const lines = waiting ? [...notes, ...waiting.lines] : notes;
    this.inFlight = true;
    if (waiting) {
      this.noteDeadlineMs = waiting.deadline_ms;
      this.currentStep = waiting.current_step;
    }
    const entry: NewEntry = {
      run_id: this.run,
      attempt: this.attempt,
      owner,
      known_seq: this.knownSeq,
      kind: waiting?.kind ?? "note",
      step_path: waiting?.step_path ?? this.currentStep,
      visit: waiting?.visit ?? null,
      output: waiting?.output ?? null,
      events: lines.join("\n"),
      events_n: lines.length,
      deadline_ms: this.noteDeadlineMs,
      current_step: this.currentStep,
      steps: waiting?.steps ?? 0,
      usage: [...(waiting?.usage ?? [])],
      status: waiting?.status ?? null,
      wake_ms: waiting?.wake_ms ?? null,
      signals: waiting?.signals ?? this.signals,
      waits: [...(waiting?.waits ?? [])],
      error: waiting?.error ?? null,
      dead_letter: waiting?.dead_letter ?? null,
    };
    return { log: this, entry, notes, waiting };
  }

  /** Takes back the notes of an entry that was not committed: what it told of besides its result is still to be told. */
  restore(notes: string[]): void {
    this.notes = [...notes, ...this.notes];
  }

  /** Drops what was never committed: the run is over here. */
  close(): void {
    this.#closed = true;
    this.#takeNotes();
  }

  #takeNotes(): string[] {
    clearTimeout(this.#timer);
    this.#timerAtMs = Infinity;
    this.notesDue = false;
    const { notes } = this;
    this.notes = [];
    return notes;
  }

  #write(events: readonly RunEvent[]): string[] {
    return events.map((event) => writeLine(event, new Date(), this.#correlationId));
  }
}
