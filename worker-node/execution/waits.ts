import { addPark } from "../../shared/journal/fold.ts";
import type { Track } from "../../shared/journal/track.ts";
import type { RunEvent } from "../../shared/contracts/event.ts";
import type { Ending, ExecutionState, LongWait, RunScope } from "./execution-state.ts";
import { SHORT_WAIT_MS } from "./failed-try.ts";
import { abortableSleep } from "./stop.ts";
import { isInJournal, leftMs, mayBeAnswered, parkEntry, repeatedPark } from "./waiting-track.ts";
import type { Waiting } from "./waiting-track.ts";

/** When a run wakes because of a timeout, the timeout must have passed by the worker's clock too. */
const TIMEOUT_SLACK_MS = 1_000;
/** Node counts timers in 32 bits. */
const MAX_TIMER_MS = 2 ** 31 - 1;

const PAUSED: RunEvent = { type: "paused" };

/**
 * The tracks of a run that wait. While another track moves, a wait is committed and the run keeps its slot. When no track can
 * move, the run parks until the first of the waits is over. When an answer or the end of a child arrives, each track with a
 * question or a child reads its own, and each that waits for a budget tries its call again.
 *
 * Each track that moves holds a token, which `suspend` gives back for the time of the wait.
 */
export class Waits {
  readonly #state: ExecutionState;
  readonly #scope: RunScope;
  readonly #waiting = new Set<Waiting>();
  /** The time limits of the forks under way. */
  readonly #limits = new Set<{ endsAtMs: number }>();
  /** The waits whose usage is committed. */
  readonly #charged = new WeakSet<LongWait>();
  #moving = 1;
  #parking: Promise<void> | null = null;
  #parked: Ending | null = null;

  constructor(state: ExecutionState, scope: RunScope) {
    this.#state = state;
    this.#scope = scope;
    state.runLog.onSignals(() => this.#wakeAnswered());
  }

  /** How the run has parked; null: it has not. A park under way is awaited. */
  async parked(): Promise<Ending | null> {
    await this.#parking;
    return this.#parked;
  }

  /** Whether the charges of a wait that a stop has ended are committed: a park under way may commit them yet. */
  async hasCharged(wait: LongWait): Promise<boolean> {
    await this.#parking;
    return this.#charged.has(wait);
  }

  /** More tracks move. */
  enter(tracks: number): void {
    this.#moving += tracks;
  }

  /**
   * A fork has its time until `endsAtMs`, by this process's monotonic clock: a run that waits for a retry wakes then, as it does at the
   * end of its own time.
   * @returns a function that the caller calls when the fork has ended
   */
  limitUntil(endsAtMs: number): () => void {
    const limit = { endsAtMs };
    this.#limits.add(limit);
    return () => void this.#limits.delete(limit);
  }

  /** A track has ended. The last track of a fork does not leave: the track above it moves on. */
  leave(): void {
    this.#moving -= 1;
    this.#parkIfNoneMoves(performance.now());
  }

  /**
   * Waits until the track may go on: its time has come, or more signals have.
   * @throws the reason of `signal`, also when the run has parked
   */
  async suspend(track: Track, wait: LongWait, signal: AbortSignal): Promise<void> {
    // A question that is new has no signals of its own. Its answer may come before the worker knows that the park is committed.
    const known = wait.signals ?? this.#state.runLog.signals;
    let isCommitted = isInJournal(track, wait);
    if (!isCommitted && this.#moving > 1) isCommitted = await this.#commit(track, wait);
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const sinceMs = performance.now();
    const timer = setTimeout(() => this.#wake(waiting), Math.min(wait.afterMs, MAX_TIMER_MS));
    const waiting: Waiting = { track, wait, isCommitted, sinceMs, timer, goOn: resolve };
    const onAbort = (): void => {
      if (!this.#remove(waiting)) return;
      this.#moving += 1;
      reject(signal.reason);
    };
    signal.addEventListener("abort", onAbort, { once: true });
    this.#waiting.add(waiting);
    this.#moving -= 1;
    // An answer came between the read of the wait and now.
    if (mayBeAnswered(waiting) && this.#state.runLog.signals > known) this.#wake(waiting);
    this.#parkIfNoneMoves(sinceMs);
    try {
      await promise;
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  /** Waits for what is left of the wait before a retry, when the run was claimed earlier for another reason. */
  async restOfRetry(track: Track, signal: AbortSignal): Promise<void> {
    const { retry, retryInMs: afterMs } = track;
    track.retryInMs = 0;
    if (retry === null || afterMs === 0) return;
    if (afterMs <= SHORT_WAIT_MS) {
      await abortableSleep(afterMs, signal);
      return;
    }
    const park = { ...retry, wait_ms: afterMs };
    await this.suspend(
      track,
      { is: "wait", status: "queued", afterMs, park, waits: [], signals: null, events: [], usage: [] },
      signal,
    );
  }

  /**
   * Commits the wait of one track while others move.
   * @returns false: a question that goes to a further group may have been answered meanwhile
   */
  async #commit(track: Track, wait: LongWait): Promise<boolean> {
    const { runLog, progress } = this.#state;
    const entry = parkEntry(track, wait);
    // The wait for a child is committed whatever came meanwhile: its end finds the wait, or has inserted it with its answer.
    const signals = wait.park.reason === "answer" ? wait.signals : null;
    const outcome = await runLog.append({ ...entry, status: null, wake_ms: null, signals });
    if (outcome.is === "rejected") throw new Error(outcome.message);
    if (outcome.is === "refused") return false;
    this.#charged.add(wait);
    addPark(progress, wait.park, 0);
    return true;
  }

  #wakeAnswered(): void {
    for (const waiting of this.#waiting) if (mayBeAnswered(waiting)) this.#wake(waiting);
  }

  /** Lets a track go on. While a park of the run is under way, the track goes on only when that park has been refused. */
  #wake(waiting: Waiting): void {
    if (this.#parking) {
      void this.#parking.then(() => this.#wake(waiting));
      return;
    }
    if (!this.#remove(waiting)) return;
    this.#moving += 1;
    waiting.goOn();
  }

  #remove(waiting: Waiting): boolean {
    clearTimeout(waiting.timer);
    return this.#waiting.delete(waiting);
  }

  #parkIfNoneMoves(nowMs: number): void {
    if (this.#moving > 0 || this.#waiting.size === 0 || this.#parking || this.#scope.signal.aborted) return;
    this.#parking = this.#park(nowMs)
      .catch((error: unknown) => this.#scope.abort(error))
      .finally(() => {
        this.#parking = null;
        this.#parkIfNoneMoves(performance.now());
      });
  }

  /**
   * Gives the slot back until the first wait is over. The entry is the park of a track that is not committed yet; when all
   * are committed, it repeats one.
   */
  async #park(nowMs: number): Promise<void> {
    const all = [...this.#waiting].toSorted((a, b) => leftMs(a, nowMs) - leftMs(b, nowMs));
    const shown = all.find(({ isCommitted }) => !isCommitted) ?? all[0];
    if (shown === undefined) return;
    const { runLog } = this.#state;
    const status = all.every(({ wait }) => wait.status === "paused") ? "paused" : "queued";
    const delayMs = this.#delayMs(all, status, nowMs);
    const knownSignals = all.map(({ wait }) => wait.signals ?? runLog.signals);
    const entry = parkEntry(shown.track, shown.isCommitted ? repeatedPark(shown, nowMs) : shown.wait);
    const outcome = await runLog.append({
      ...entry,
      events: status === "paused" ? [...entry.events, PAUSED] : entry.events,
      status,
      wake_ms: delayMs,
      signals: Math.min(...knownSignals),
      deadline_ms: 0,
    });
    if (outcome.is === "committed") {
      this.#charged.add(shown.wait);
      this.#parked = { is: "parked", status, delayMs };
      this.#scope.abort(new Error("the run has parked"));
      return;
    }
    if (outcome.is === "rejected") throw new Error(outcome.message);
    // Refused: `signals` rose meanwhile. A cancel ends any wait. An answer may have arrived for a question, or a budget was
    // raised: then the tracks that wait for one move again. A wait without an entry would be forgotten, so it is committed. A timer would
    // begin anew, a child would be started once more, and a retry or a wait for a budget would lose its tries and charges.
    const { reason } = shown.wait.park;
    const mustCommit = !shown.isCommitted && (reason === "budget" || (reason !== "answer" && all.length > 1));
    if (mustCommit && !this.#scope.signal.aborted) {
      shown.isCommitted = await this.#commit(shown.track, shown.wait);
    }
    this.#parking = null;
    this.#wakeAnswered();
  }

  #delayMs(all: readonly Waiting[], status: "queued" | "paused", nowMs: number): number {
    const first = Math.min(...all.map((waiting) => leftMs(waiting, nowMs)));
    const ends = [this.#scope, ...this.#limits].map(({ endsAtMs }) => Math.max(0, endsAtMs - nowMs));
    // The run's time, by which its forks measure theirs, does not pass while it is paused for answers, timers and children.
    return Math.ceil(status === "paused" ? first : Math.min(first, Math.min(...ends) + TIMEOUT_SLACK_MS));
  }
}
