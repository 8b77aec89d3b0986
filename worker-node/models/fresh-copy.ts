import { log, messageOf } from "../../shared/log.ts";

/** A copy of this age is read again while calls go on with it; calls wait for a read of an older one. */
const FRESH_MS = 2_000;
const STALE_MS = 4_000;

/** A worker's copy of what operators may change. A change acts within 5 s while the store answers. */
export class FreshCopy<Value> {
  readonly #read: () => Promise<Value>;
  readonly #what: string;
  #value: Value;
  #readAtMs = -Infinity;
  #reading: Promise<void> | null = null;

  /** @param what names it in the log @param first its value before the first read */
  constructor(what: string, first: Value, read: () => Promise<Value>) {
    this.#what = what;
    this.#value = first;
    this.#read = read;
  }

  get value(): Value {
    return this.#value;
  }

  /** Reads it again when it is old. Never throws: without the store the last known value holds. */
  async refresh(): Promise<void> {
    const ageMs = performance.now() - this.#readAtMs;
    if (ageMs < FRESH_MS) return;
    this.#reading ??= this.#readOnce().finally(() => {
      this.#reading = null;
    });
    if (ageMs >= STALE_MS) await this.#reading;
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
