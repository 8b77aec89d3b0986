import { POSTGRES_CONNECT_MS } from "../../shared/timing.ts";

/** How many logins are remembered: the latest. */
const REMEMBERED = 8;
/** A login that takes this many times the median of the others is not expected to succeed. */
const FACTOR = 4;

/**
 * The durations of the latest logins to Postgres, which decide how long the next login may take. A busy machine or a distant database
 * does not count as unreachable, because all its logins take long.
 */
export class LoginTimes {
  readonly #tookMs: number[] = [];

  add(tookMs: number): void {
    this.#tookMs.push(tookMs);
    if (this.#tookMs.length > REMEMBERED) this.#tookMs.shift();
  }

  /**
   * The time after which a login has failed, in milliseconds: four times the median of the last eight, at least
   * `leastMs`, and at most `POSTGRES_CONNECT_MS`, which is also the limit of the first login.
   */
  limitMs(leastMs: number): number {
    if (this.#tookMs.length === 0) return POSTGRES_CONNECT_MS;
    const median = this.#tookMs.toSorted((a, b) => a - b)[(this.#tookMs.length - 1) >> 1] ?? 0;
    return Math.min(POSTGRES_CONNECT_MS, Math.max(leastMs, FACTOR * median));
  }
}

/** The logins of this isolate. */
export const loginTimes = new LoginTimes();
