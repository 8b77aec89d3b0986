import { FairQueue } from "../engine/fair-queue.ts";

/** The most reservations of a worker that are under way: each may wait for a lock, and holds a connection to Postgres meanwhile. */
const MAX_AT_ONCE = 2;

/**
 * Limits the statements that reserve model calls in budgets: two at a time, and one of each tenant, because the statements of one tenant
 * wait for the same lock anyway. The tenants take turns. So a tenant whose budget is wanted by many calls takes no connections from
 * the beats and flushes of the worker.
 */
export class ReservationLimiter {
  readonly #busy = new Set<string>();
  readonly #waiting = new FairQueue<() => void>();

  /** Does the work when the tenant may. */
  async run<Result>(tenant: string, work: () => Promise<Result>): Promise<Result> {
    if (this.#busy.has(tenant) || this.#busy.size >= MAX_AT_ONCE) {
      // The work that ends gives its place to this one.
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
      // Its place is taken now, although its work begins a moment later.
      if (begin) this.#busy.add(tenantInTurn);
      begin?.();
    }
  }
}
