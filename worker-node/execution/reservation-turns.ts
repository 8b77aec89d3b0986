import { TurnQueue } from "../engine/turn-queue.ts";

/** The most reservations of a worker that are under way: they may wait for a lock, each with a connection to Postgres. */
const MAX_AT_ONCE = 2;

/**
 * Turns for the statements that reserve model calls in budgets: one of each tenant at a time, because those of one tenant wait for
 * the same lock anyway, and the tenants in turn. So a tenant whose budget is wanted by many calls takes no connections from
 * the beats and flushes of the worker.
 */
export class ReservationTurns {
  readonly #busy = new Set<string>();
  readonly #waiting = new TurnQueue<() => void>();

  /** Does the work when it is the tenant's turn. */
  async take<Result>(tenant: string, work: () => Promise<Result>): Promise<Result> {
    if (this.#busy.has(tenant) || this.#busy.size >= MAX_AT_ONCE) {
      // The turn that ends gives its place to this one.
      await new Promise<void>((begin) => this.#waiting.push(tenant, begin));
    }
    this.#busy.add(tenant);
    try {
      return await work();
    } finally {
      this.#busy.delete(tenant);
      let tenantInTurn = "";
      const begin = this.#waiting.take((each) => {
        tenantInTurn = each;
        return !this.#busy.has(each);
      });
      // Its place is taken at once: its work begins a moment later.
      if (begin) this.#busy.add(tenantInTurn);
      begin?.();
    }
  }
}
