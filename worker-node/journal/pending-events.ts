import type { RunEvent } from "../../shared/contracts/event.ts";

/** How long events wait for a result of their run with which they can be committed. After that they are committed alone. */
const NOTE_MS = 10;
/** How long events wait that carry only text of a model. `SLOW_DELTA_MS` applies while a flush takes longer than `DELTA_MS`. */
const DELTA_MS = 50;
const SLOW_DELTA_MS = 250;

/** The event lines of one run that no entry carries yet. They wait a moment for an entry. After that they need an entry of their own. */
export class PendingEvents {
  readonly #onDue: () => void;
  readonly #lastFlushMs: () => number;
  #lines: string[] = [];
  #isDue = false;
  #timer: NodeJS.Timeout | undefined;
  #timerAtMs = Infinity;

  /** @param onDue is called when the events have waited long enough, and need an entry of their own */
  constructor(onDue: () => void, lastFlushMs: () => number) {
    this.#onDue = onDue;
    this.#lastFlushMs = lastFlushMs;
  }

  /** True when there are events, and they have waited long enough. */
  get isDue(): boolean {
    return this.#isDue && this.#lines.length > 0;
  }

  /** Adds events, with their lines. Without an event nothing becomes due, because each entry has an event. */
  add(events: readonly RunEvent[], lines: readonly string[]): void {
    if (lines.length === 0) return;
    this.#lines.push(...lines);
    const onlyText = events.every((event) => event.type === "llm_delta");
    const waitMs = onlyText ? (this.#lastFlushMs() > DELTA_MS ? SLOW_DELTA_MS : DELTA_MS) : NOTE_MS;
    const atMs = performance.now() + waitMs;
    if (this.#isDue || atMs >= this.#timerAtMs) return;
    clearTimeout(this.#timer);
    this.#timerAtMs = atMs;
    this.#timer = setTimeout(() => {
      this.#timerAtMs = Infinity;
      this.#isDue = true;
      this.#onDue();
    }, waitMs);
  }

  /** Removes all lines: an entry carries them now, or the execution has ended. */
  take(): string[] {
    clearTimeout(this.#timer);
    this.#timerAtMs = Infinity;
    this.#isDue = false;
    const lines = this.#lines;
    this.#lines = [];
    return lines;
  }

  /** Puts back the lines of an entry that was not committed: the run's next entry carries them. */
  putBack(lines: readonly string[]): void {
    this.#lines = [...lines, ...this.#lines];
  }
}
