import { AppError } from "../../shared/errors.ts";

/** More than any client waits for. */
const WAIT_MS = 5_000;

type Waiting = { begin(): void; refuse(error: unknown): void };

/** Lets a number of callers act at the same time. The others wait for their turn, in order. */
export class Turns {
  readonly #maxWaiting: number;
  readonly #waiting = new Set<Waiting>();
  #free: number;

  constructor(max: number, maxWaiting: number) {
    this.#free = max;
    this.#maxWaiting = maxWaiting;
  }

  /**
   * @throws AppError `capacity` when too many wait, or the turn does not come in time: nothing was done then; what `act`
   *   throws
   */
  async take<Result>(act: () => Promise<Result>): Promise<Result> {
    if (this.#free > 0) this.#free -= 1;
    else await this.#wait();
    try {
      return await act();
    } finally {
      this.#passOn();
    }
  }

  /** Refuses all callers that wait now. */
  refuseWaiting(error: unknown): void {
    for (const waiting of this.#waiting) waiting.refuse(error);
  }

  async #wait(): Promise<void> {
    if (this.#waiting.size >= this.#maxWaiting) throw tooMany();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const timer = setTimeout(() => own.refuse(tooMany()), WAIT_MS);
    const end = () => {
      clearTimeout(timer);
      this.#waiting.delete(own);
    };
    const own: Waiting = {
      begin: () => (end(), resolve()),
      refuse: (error) => (end(), reject(error)),
    };
    this.#waiting.add(own);
    return promise;
  }

  #passOn(): void {
    const [next] = this.#waiting;
    if (next) next.begin();
    else this.#free += 1;
  }
}

function tooMany(): AppError {
  const detail = "Too many requests wait for the database; try again in a moment.";
  return new AppError("capacity", detail, { retryAfterSeconds: 2 });
}
