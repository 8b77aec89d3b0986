/** The same value in two looks so far apart: then it stands still. */
const OBSERVE_MS = 30_000;

/** Remembers values from look to look, and finds those that have not moved for 30 s. */
export class StallDetector {
  #seen = new Map<string, { value: string; sinceMs: number }>();

  /** Which names of `now` have had their value for 30 s. What is not in `now` is forgotten. */
  look(now: readonly (readonly [name: string, value: string])[]): Set<string> {
    const nowMs = performance.now();
    const still = new Set<string>();
    const next = new Map<string, { value: string; sinceMs: number }>();
    for (const [name, value] of now) {
      const before = this.#seen.get(name);
      const observed = before?.value === value ? before : { value, sinceMs: nowMs };
      if (nowMs - observed.sinceMs >= OBSERVE_MS) still.add(name);
      next.set(name, observed);
    }
    this.#seen = next;
    return still;
  }

  /** Starts anew: what was seen before an outage says nothing about what stood still during it. */
  forget(): void {
    this.#seen.clear();
  }
}
