import { AppError } from "../../shared/errors.ts";
import { elapsedMs } from "../../shared/tasks/elapsed-ms.ts";
import { FairQueue } from "./fair-queue.ts";
import type { Sized } from "./fair-queue.ts";

/** The longest wait for a turn. Clients wait for some 30 s, so on a busy machine a read is answered late rather than refused. */
const WAIT_MS = 15_000;

/** How often the waits are compared with `WAIT_MS`. */
const LOOK_MS = 500;

type Waiting = Sized & { sinceMs: number; begin(): void; refuse(error: unknown): void };

/**
 * Lets at most `max` callers act at the same time. The others wait: tenants take turns, and the callers of one tenant come in order.
 * So the callers of a busy tenant wait for each other, and the next caller of another tenant waits for one turn only.
 */
export class Turns {
  readonly #waiting = new FairQueue<Waiting>();
  /** The same, the oldest first. */
  readonly #byAge = new Set<Waiting>();
  /** One timer for all waits, which ends in its own callback: a cleared one keeps memory for as long as the object lives. */
  #timer: ReturnType<typeof setInterval> | null = null;
  #free: number;

  constructor(max: number) {
    this.#free = max;
  }

  /**
   * @param as the tenant (or another name that has turns of its own), and about how many bytes wait with the caller
   * @throws AppError `capacity` when too much of the tenant waits, or its turn does not come in 15 s: then `act` was not called; the
   *   error of `act`
   */
  async take<Result>(act: () => Promise<Result>, as: Sized): Promise<Result> {
    if (this.#free > 0) this.#free -= 1;
    else await this.#wait(as);
    try {
      return await act();
    } finally {
      this.#passOn();
    }
  }

  /** Refuses all callers that wait now. */
  refuseWaiting(error: unknown): void {
    for (let next = this.#waiting.takeNext(); next; next = this.#waiting.takeNext()) next.refuse(error);
  }

  async #wait({ tenant, bytes }: Sized): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const end = () => {
      this.#byAge.delete(own);
      this.#waiting.remove(own);
    };
    const own: Waiting = {
      tenant,
      bytes,
      sinceMs: elapsedMs(),
      begin: () => (end(), resolve()),
      refuse: (error) => (end(), reject(error)),
    };
    if (this.#waiting.add(own)) {
      this.#byAge.add(own);
      this.#timer ??= setInterval(() => this.#refuseLate(), LOOK_MS);
    } else own.refuse(tooMany());
    return promise;
  }

  #refuseLate(): void {
    const lateMs = elapsedMs() - WAIT_MS;
    for (const waiting of this.#byAge) {
      if (waiting.sinceMs > lateMs) break;
      waiting.refuse(tooMany());
    }
    if (this.#byAge.size > 0 || this.#timer === null) return;
    clearInterval(this.#timer);
    this.#timer = null;
  }

  #passOn(): void {
    const next = this.#waiting.takeNext();
    if (next) next.begin();
    else this.#free += 1;
  }
}

function tooMany(): AppError {
  const detail = "Too many requests wait for the database; try again in a moment.";
  return new AppError("capacity", detail, { retryAfterSeconds: 2 });
}
