import { log, messageOf } from "../../shared/log.ts";

/** From `freshMs` on a copy is read again while calls go on with it; from `staleMs` on calls wait for the read. */
type Ages = { freshMs: number; staleMs: number };
const AGES: Ages = { freshMs: 2_000, staleMs: 4_000 };

/** A worker's copy of what may change in the store. A change acts within 5 s while the store answers. */
export class FreshCopy<Value> {
  readonly #read: () => Promise<Value>;
  readonly #what: string;
  readonly #ages: Ages;
  #value: Value;
  #readAtMs = -Infinity;
  #reading: Promise<void> | null = null;

  /** @param what names it in the log @param first its value before the first read */
  constructor(what: string, first: Value, read: () => Promise<Value>, ages = AGES) {
    this.#what = what;
    this.#value = first;
    this.#read = read;
    this.#ages = ages;
  }

  get value(): Value {
    return this.#value;
  }

  /** Reads it again when it is old. Never throws: without the store the last known value holds. */
  async refresh(): Promise<void> {
    const ageMs = performance.now() - this.#readAtMs;
    if (ageMs < this.#ages.freshMs) return;
    this.#reading ??= this.#readOnce().finally(() => {
      this.#reading = null;
    });
    if (ageMs >= this.#ages.staleMs) await this.#reading;
  }

  async #readOnce(): Promise<void> {
    const startedMs = performance.now();
    try {
      this.#value = await this.#read();
    } catch (error) {
      log.warn(`${this.#what}.read_failed`, { message: messageOf(error) });
    }
    this.#readAtMs = startedMs;
  }
}
