import type { RepairDeps } from "./reconciler-deps.ts";

/** Short, so that retention also runs in a fleet whose workers are replaced every hour. */
const FIRST_MS = 60_000;
const PERIOD_MS = 300_000;

/**
 * docs/protocol.md 7.8. Guarantee: rows that outlived their use are deleted as fast as they are written. Starts every five
 * minutes, then deletes a page per pass until none are left.
 */
export class Retention {
  readonly #store: RepairDeps["store"];
  #nextMs = performance.now() + FIRST_MS;

  constructor({ store }: Pick<RepairDeps, "store">) {
    this.#store = store;
  }

  async pass(): Promise<void> {
    if (performance.now() < this.#nextMs) return;
    const hasMore = await this.#store.deleteExpired();
    if (!hasMore) this.#nextMs = performance.now() + PERIOD_MS;
  }
}
