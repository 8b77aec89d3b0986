type Observation = { value: string; sinceMs: number };

/**
 * Finds values that did not change for `stallMs` of uninterrupted observation. docs/protocol.md 7: "observed". The time is this
 * process's own, so no clock of another machine takes part.
 */
export class StallDetector {
  readonly #stallMs: number;
  #observed = new Map<string, Observation>();

  constructor(stallMs: number) {
    this.#stallMs = stallMs;
  }

  /** @returns the names in `current` whose value has not changed for `stallMs`. Names that are not in it are dropped. */
  observe(current: readonly (readonly [name: string, value: string])[]): Set<string> {
    const nowMs = performance.now();
    const stalled = new Set<string>();
    const observed = new Map<string, Observation>();
    for (const [name, value] of current) {
      const before = this.#observed.get(name);
      const now = before?.value === value ? before : { value, sinceMs: nowMs };
      if (nowMs - now.sinceMs >= this.#stallMs) stalled.add(name);
      observed.set(name, now);
    }
    this.#observed = observed;
    return stalled;
  }

  /** Starts anew: observations before an outage do not show which values changed during it. */
  resetObservation(): void {
    this.#observed.clear();
  }
}
