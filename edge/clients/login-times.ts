import { POSTGRES_CONNECT_MS } from "../../shared/timing.ts";

/** So many logins are remembered. */
const REMEMBERED = 8;
/** A login that takes this many times as long as half of the others will hardly succeed. */
const FACTOR = 4;

/**
 * How long logins to Postgres have taken, and therefore how long the next one may take. A database is not away because the
 * machine is busy, or because it is far away: then all its logins take long.
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
