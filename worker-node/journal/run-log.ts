import type { Step } from "../../shared/contracts/definition/index.ts";
import type { RunEvent } from "../../shared/contracts/event.ts";
import type { Incarnation, RunId } from "../../shared/contracts/ids.ts";
import type { ClaimedRun } from "../../shared/store/runs/claim-runs.ts";
import { whenJournalTooLarge } from "../../shared/journal/size-limits.ts";
import { aboutRun } from "../../shared/log.ts";
import type { LogFields } from "../../shared/log.ts";
import { writeLines } from "../../shared/events/lines.ts";
import type { LineFormat } from "../../shared/events/lines.ts";
import type { LiveEntry } from "../../shared/events/live.ts";
import { eventCountOf, writtenBy } from "../../shared/store/journal/new-entry.ts";
import type { EntryContent, NewEntry } from "../../shared/store/journal/new-entry.ts";
import { Stop } from "../execution/stop.ts";
import { EntryQueue, earlierResults, storedLines } from "./entry-queue.ts";
import type { Appended, AppendOutcome, Outcome } from "./entry-queue.ts";
import { PendingEvents } from "./pending-events.ts";

const CHECKPOINT: RunEvent = { type: "checkpoint" };
/**
 * The time of a parallel or loop step without a timeout, for the run's deadline. The steps in it have longer deadlines if they need them.
 */
const FORK_SECONDS = 60;
/** A run without a new entry counts as stuck when so much time has passed beyond that of its step. */
const DEADLINE_SLACK_MS = 30_000;

/** What the log needs to know of its run: the fence, and what the run had when this worker claimed it. */
export type LoggedRun = Pick<
  ClaimedRun,
  | "run_id"
  | "tenant_id"
  | "traceparent"
  | "attempt"
  | "event_seq"
  | "signals"
  | "correlation_id"
  | "journal_bytes"
  | "has_budget"
>;

/** An entry as an execution appends it: the run log adds the fence and writes the events as lines. */
export type Append = EntryContent & { events: readonly RunEvent[] };

type LogParts = {
  owner: Incarnation;
  stop: AbortController;
  /** Makes the journal take entries from this log. */
  schedule(log: RunLog): void;
  /** How long the worker's last flush took. */
  lastFlushMs(): number;
  lines: LineFormat;
};

/**
 * The journal of one run, as the worker that executes it writes it: in order, one entry in flight at a time.
 *
 * Each commit reports the run's signals and a cancel. The log aborts `stop`, which stops the execution:
 * - as `superseded` after a fenced entry
 * - as `cancel` when the run was cancelled
 * - as `state_too_large` when its journal has become too large
 */
export class RunLog {
  readonly #run: LoggedRun;
  readonly #parts: LogParts;
  readonly #pending: PendingEvents;
  readonly #queue = new EntryQueue();
  /** The entry that is being committed, and the appended entries in it: its earlier results, then itself. A note has no appended entry. */
  #inFlight: { entry: NewEntry; appended: readonly Appended[] } | null = null;
  #noteDeadlineMs = 60_000;
  /** The deadlines of the steps that run, by path. */
  readonly #running = new Map<string, number>();
  #currentStep: string | null = null;
  #isClosed = false;
  #knownSeq: number;
  #journalBytes: number;
  #signals: number;
  /** True when a budget applies to the run, as far as this worker knows. */
  hasBudget: boolean;
  #onSignals = (): void => {};

  constructor(run: LoggedRun, parts: LogParts) {
    this.#run = run;
    this.#parts = parts;
    this.#knownSeq = run.event_seq;
    this.#journalBytes = run.journal_bytes;
    this.#signals = run.signals;
    this.hasBudget = run.has_budget;
    this.#pending = new PendingEvents(() => parts.schedule(this), parts.lastFlushMs);
  }

  get run(): RunId {
    return this.#run.run_id;
  }

  /** Its run, for log lines. */
  get about(): LogFields {
    return aboutRun(this.#run);
  }

  /** The number of the last committed event. */
  get knownSeq(): number {
    return this.#knownSeq;
  }

  /** The path of the step that began last. */
  get currentStep(): string | null {
    return this.#currentStep;
  }

  /** The run's signals, as far as this worker knows. */
  get signals(): number {
    return this.#signals;
  }

  set signals(signals: number) {
    const isMore = signals > this.#signals;
    this.#signals = signals;
    if (isMore) this.#onSignals();
  }

  /** Calls `listener` whenever the run has received more signals. */
  onSignals(listener: () => void): void {
    this.#onSignals = listener;
  }

  /** The step at `path` runs from here on: notes belong to it, and the run's deadline follows from its timeout. */
  begin(path: string, step: Step): void {
    this.#currentStep = path;
    this.#noteDeadlineMs = deadlineOf(step);
    this.#running.set(path, deadlineOf(step));
  }

  /** The step at `path` no longer runs. */
  leave(path: string): void {
    this.#running.delete(path);
  }

  /** The longest deadline, in milliseconds: `ownMs` or that of a step that runs. */
  #deadlineMs(ownMs: number): number {
    return Math.max(ownMs, ...this.#running.values());
  }

  /** Commits events: with the next entry of this run, or by themselves within a moment. */
  note(events: readonly RunEvent[]): void {
    // A step that was stopped or timed out may still note events: they are dropped.
    if (this.#isClosed) return;
    this.#pending.add(events, this.#write(events));
  }

  /**
   * Commits an entry, with the events noted so far before its own. Resolves once the outcome is known, however long that
   * takes.
   * @throws Stop `superseded` when another worker moves the run
   */
  append(appended: Append): Promise<AppendOutcome> {
    const content =
      appended.kind === "end"
        ? appended
        : { ...appended, deadline_ms: this.#deadlineMs(appended.deadline_ms) };
    return new Promise((resolve, reject) => {
      if (content.kind === "step") {
        this.#currentStep = content.current_step;
        this.#noteDeadlineMs = content.deadline_ms;
      }
      const pending = this.#pending.take();
      // An entry's number is that of its last event, so every entry has an event.
      const events = content.events.length + pending.length > 0 ? content.events : [CHECKPOINT];
      this.#queue.push({ content, isAlone: false, pending, lines: this.#write(events), resolve, reject });
      this.#parts.schedule(this);
    });
  }

  /** True when there is something to commit now. */
  hasMore(): boolean {
    return !this.#queue.isEmpty || this.#pending.isDue;
  }

  /** The entry to commit next; null while one is in flight or there is none. The caller reports its outcome to `onOutcome`. */
  take(): NewEntry | null {
    if (this.#inFlight !== null || !this.hasMore()) return null;
    const appended = this.#queue.take();
    const last = appended.at(-1);
    const entry = last ? this.#entryOf(last, appended.slice(0, -1)) : this.#noteOf(this.#pending.take());
    this.#inFlight = { entry, appended };
    return entry;
  }

  #entryOf(last: Appended, earlier: readonly Appended[]): NewEntry {
    const { run_id, attempt, owner, known_seq } = this.#fence();
    const { events, events_n } = storedLines(last, this.#parts.lines);
    const results = earlierResults(earlier, this.#parts.lines);
    // One spread: a second one would copy key by key.
    return { ...last.content, run_id, attempt, owner, known_seq, events, events_n, earlier: results };
  }

  #noteOf(lines: string[]): NewEntry {
    const content = { step_path: this.#currentStep, deadline_ms: this.#deadlineMs(this.#noteDeadlineMs) };
    const stored = storedLines({ pending: [], lines }, this.#parts.lines);
    return { kind: "note", ...content, ...this.#fence(), ...stored, earlier: [] };
  }

  #fence() {
    const { run_id, attempt } = this.#run;
    return { run_id, attempt, owner: this.#parts.owner, known_seq: this.#knownSeq };
  }

  /** Records the outcome of the entry that `take` returned. @returns the entry for viewers; null unless it is committed */
  onOutcome(outcome: Outcome): LiveEntry | null {
    if (this.#inFlight === null) throw new Error(`no entry of ${this.#run.run_id} is in flight`);
    const { entry, appended } = this.#inFlight;
    this.#inFlight = null;
    switch (outcome.is) {
      case "committed":
        this.#count(entry);
        for (const each of appended) this.#settle(each, outcome);
        return this.#liveOf(entry);
      case "fenced":
        this.close();
        for (const each of appended) this.#settle(each, outcome);
        return null;
      case "refused":
      case "rejected":
        this.#onRefused(appended, outcome);
        return null;
    }
  }

  /** Only the last entry is refused or rejected: the events before it belong to the next one. */
  #onRefused(appended: readonly Appended[], outcome: Outcome): void {
    const last = appended.at(-1);
    const earlier = appended.slice(0, -1);
    if (!last) return;
    if (outcome.is === "rejected" && earlier.length > 0) {
      // Each is tried alone, which shows the one that Postgres does not take.
      this.#queue.putBack(appended.map((each) => ({ ...each, isAlone: true })));
      return;
    }
    this.#queue.putBack(earlier);
    this.#pending.putBack(last.pending);
    this.#settle(last, outcome);
    // The results after a rejected one follow from it: they are not committed without it.
    const { kind } = last.content;
    if (outcome.is !== "rejected" || (kind !== "step" && kind !== "turn")) return;
    for (const result of this.#queue.takeResults()) this.#settle(result, outcome);
  }

  #liveOf(entry: NewEntry): LiveEntry {
    const events = writtenBy(entry)
      .map((written) => written.events)
      .join("\n");
    return {
      run: entry.run_id,
      seq: this.#knownSeq,
      events,
      events_n: eventCountOf(entry),
      last: entry.kind === "end",
    };
  }

  /** Counts a committed entry. The entry that makes the journal too large is committed too: the end of the run follows it. */
  #count(entry: NewEntry): void {
    for (const { events_n, events, output } of writtenBy(entry)) {
      this.#knownSeq += events_n;
      this.#journalBytes += Buffer.byteLength(events) + Buffer.byteLength(output);
    }
    const tooLarge = whenJournalTooLarge(this.#currentStep, this.#journalBytes);
    if (tooLarge && goesOnAfter(entry)) {
      this.#parts.stop.abort(new Stop(tooLarge.code, tooLarge.message));
    }
  }

  #settle({ content, resolve, reject }: Appended, outcome: Outcome): void {
    if (outcome.is === "fenced") {
      const superseded = new Stop("superseded", "another worker moves the run now");
      this.#parts.stop.abort(superseded);
      reject(superseded);
      return;
    }
    if (outcome.is !== "rejected") {
      this.signals = outcome.signals;
      const goesOn = goesOnAfter(content) || outcome.is === "refused";
      if (outcome.cancel && goesOn) this.#parts.stop.abort(new Stop("cancel", "the run was cancelled"));
    }
    resolve(outcome);
  }

  /** Drops pending events, and all later ones: the execution has ended. */
  close(): void {
    this.#isClosed = true;
    this.#pending.take();
  }

  #write(events: readonly RunEvent[]): string[] {
    return writeLines(events, new Date(), this.#run.correlation_id);
  }
}

/** Whether the run keeps its slot after this entry. */
function goesOnAfter(entry: EntryContent): boolean {
  return entry.kind !== "end" && (entry.kind !== "park" || entry.status === null);
}

/**
 * The longest time without a new entry while a worker runs this step, in milliseconds. Null: the track has ended, and the step around it
 * runs.
 */
export function deadlineOf(step: Step | null): number {
  return (step?.timeout_seconds ?? FORK_SECONDS) * 1_000 + DEADLINE_SLACK_MS;
}
