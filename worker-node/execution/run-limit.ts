import { abortable } from "./stop.ts";

/**
 * A call that is under way. `cost`: its worst case. `used`: what it has cost so far, which the run's cost contains already. Both in
 * micro-dollars.
 */
type OpenCall = { cost: number; used(): number };

/** What a call needs of the run's own money limit. Money in micro-dollars. */
type Wanted = {
  /** Null: the run has no limit. */
  limit: number | null;
  /** The worst case of the call. */
  cost: number;
  /** What the run has cost so far, the calls under way included. @throws when the limit is reached */
  spent(): number;
  /** What the call has cost so far. */
  used(): number;
  signal: AbortSignal;
};

/**
 * The money limit of one run, `max_total_cost_usd`. The worst case of each call is reserved in it, in memory: one worker
 * moves a run. So branches that call models at the same time pass the limit by no more than one call would.
 */
export class RunLimit {
  readonly #open = new Set<OpenCall>();
  #ended = Promise.withResolvers<void>();

  /**
   * Waits until the call fits beside those under way. A call that is alone may begin while anything is left: the limit may be
   * lower than the worst case of one call.
   * @returns a function that ends the reservation
   * @throws what `spent` throws, or the reason of `signal`
   */
  async reserve({ limit, cost, spent, used, signal }: Wanted): Promise<() => void> {
    if (limit === null) return () => {};
    for (;;) {
      const soFar = spent();
      const reserved = [...this.#open].reduce((sum, call) => sum + Math.max(0, call.cost - call.used()), 0);
      if (this.#open.size === 0 || soFar + reserved + cost <= limit) break;
      await abortable(signal, this.#ended.promise);
    }
    const call = { cost, used };
    this.#open.add(call);
    return () => this.#end(call);
  }

  #end(call: OpenCall): void {
    this.#open.delete(call);
    this.#ended.resolve();
    this.#ended = Promise.withResolvers();
  }
}
