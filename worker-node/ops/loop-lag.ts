/** Each round wakes the process, for about 50 us. Ten rounds a second for each of two readers took 0.9 ms of processor time a second. */
const PERIOD_MS = 250;

/**
 * The longest delays of this process's event loop. All readers share one timer. A delay is reported up to 250 ms shorter
 * than it was.
 *
 * Node's `monitorEventLoopDelay` loses what delays its first round after each `reset`.
 */
export class LoopLag {
  readonly #readers: { longestMs: number }[] = [];
  #roundMs = performance.now();

  constructor() {
    setInterval(() => this.#measure(), PERIOD_MS).unref();
  }

  /** @returns a function that reads the longest delay since its own last call, in milliseconds */
  reader(): () => number {
    const own = { longestMs: 0 };
    this.#readers.push(own);
    return () => {
      // A delay that has just ended counts before the next round.
      this.#measure();
      const { longestMs } = own;
      own.longestMs = 0;
      return Math.round(longestMs);
    };
  }

  #measure(): void {
    const nowMs = performance.now();
    const delayMs = nowMs - this.#roundMs - PERIOD_MS;
    this.#roundMs = nowMs;
    for (const reader of this.#readers) reader.longestMs = Math.max(reader.longestMs, delayMs);
  }
}
