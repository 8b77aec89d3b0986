import { AppError } from "../../shared/errors.ts";
import { FairQueue } from "./fair-queue.ts";
import type { Sized } from "./fair-queue.ts";

/** Clients wait for some 30 s. A read that waits for its turn on a busy machine is answered late rather than refused. */
const WAIT_MS = 15_000;

type Waiting = Sized & { begin(): void; refuse(error: unknown): void };

/**
 * Lets a number of callers act at the same time. The others wait: tenants take turns, and each tenant's own callers come in
 * order. So a tenant with many callers makes them wait for each other, and another's next caller waits for one turn.
 */
export class Turns {
  readonly #waiting = new FairQueue<Waiting>();
  #free: number;

  constructor(max: number) {
    this.#free = max;
  }

  /**
   * @param as the tenant (or another name that has turns of its own), and about how many bytes wait with the caller
   * @throws AppError `capacity` when too many of the tenant wait, or the turn does not come in time: nothing was done
   *   then; what `act` throws
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
    const timer = setTimeout(() => own.refuse(tooMany()), WAIT_MS);
    const end = () => {
      clearTimeout(timer);
      this.#waiting.remove(own);
    };
    const own: Waiting = {
      tenant,
      bytes,
      begin: () => (end(), resolve()),
      refuse: (error) => (end(), reject(error)),
    };
    if (!this.#waiting.add(own)) own.refuse(tooMany());
    return promise;
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
