import { abortable } from "./stop.ts";

/**
 * The most branches and iterations of a worker that may be in a step with effects at the same time, besides one track of each
 * run. A run of a thousand iterations must not open a thousand connections, nor take those of other tenants.
 */
const MAX_TRACKS = 64;

type Waiter = { run: string; begin(end: () => void): void };

/**
 * Limits how many tracks of a worker's runs are in a step with effects at the same time. One track of each run may begin without a wait,
 * so that every run moves. Further tracks share `MAX_TRACKS` permits, which the tenants that wait get one after the other.
 */
export class TrackLimiter {
  #free: number;
  /** The runs of which one track moves without a permit. */
  readonly #moving = new Set<string>();
  /** The tracks that wait, by tenant; the tenant that gets the next permit is the first. */
  readonly #waiting = new Map<string, Waiter[]>();

  constructor(permits = MAX_TRACKS) {
    this.#free = permits;
  }

  /**
   * Waits until a track of `run` may begin a step.
   * @returns a function that ends the step: the caller calls it once
   * @throws the reason of `signal`
   */
  async take(run: string, tenant: string, signal: AbortSignal): Promise<() => void> {
    if (!this.#moving.has(run)) {
      this.#moving.add(run);
      return () => this.#endOwn(run, tenant);
    }
    if (this.#free > 0) {
      this.#free -= 1;
      return () => this.#endShared();
    }
    const { promise, resolve } = Promise.withResolvers<() => void>();
    const waiter: Waiter = { run, begin: resolve };
    const waiters = this.#waiting.get(tenant) ?? [];
    waiters.push(waiter);
    this.#waiting.set(tenant, waiters);
    try {
      return await abortable(signal, promise);
    } catch (error) {
      // The track may have been let in at the moment of the abort.
      if (!this.#remove(tenant, waiter)) (await promise)();
      throw error;
    }
  }

  /** Another track of the run moves without a permit. */
  #endOwn(run: string, tenant: string): void {
    const next = this.#waiting.get(tenant)?.find((waiter) => waiter.run === run);
    if (next === undefined) {
      this.#moving.delete(run);
      return;
    }
    this.#remove(tenant, next);
    next.begin(() => this.#endOwn(run, tenant));
  }

  /** A permit goes to the next tenant. */
  #endShared(): void {
    const [first] = this.#waiting;
    const next = first?.[1][0];
    if (first === undefined || next === undefined) {
      this.#free += 1;
      return;
    }
    const [tenant, waiters] = first;
    this.#remove(tenant, next);
    // This tenant goes behind the other tenants that wait.
    if (this.#waiting.delete(tenant)) this.#waiting.set(tenant, waiters);
    next.begin(() => this.#endShared());
  }

  /** @returns false when the track does not wait any more */
  #remove(tenant: string, waiter: Waiter): boolean {
    const waiters = this.#waiting.get(tenant) ?? [];
    const index = waiters.indexOf(waiter);
    if (index < 0) return false;
    waiters.splice(index, 1);
    if (waiters.length === 0) this.#waiting.delete(tenant);
    return true;
  }
}
