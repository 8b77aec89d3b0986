import type { RepairDeps } from "./reconciler-deps.ts";

/** Short, so that retention also runs in a fleet whose workers are replaced every hour. */
const FIRST_MS = 60_000;
const PERIOD_MS = 300_000;

/** The pause after a failed pass, so that a part that always fails does not repeat its statements in each pass of the reconciler. */
const AFTER_FAILURE_MS = 60_000;

/**
 * docs/protocol.md 7.8. Guarantee: rows that outlived their use are deleted as fast as they are written. Starts every five
 * minutes, then deletes a page per pass until none are left; a page a minute while a part of it fails.
 */
export class Retention {
  readonly #store: Pick<RepairDeps["store"], "deleteExpired">;
  #nextMs = performance.now() + FIRST_MS;

  constructor({ store }: { store: Pick<RepairDeps["store"], "deleteExpired"> }) {
    this.#store = store;
  }

  async pass(): Promise<void> {
    if (performance.now() < this.#nextMs) return;
    this.#nextMs = performance.now() + AFTER_FAILURE_MS;
    const hasMore = await this.#store.deleteExpired();
    this.#nextMs = performance.now() + (hasMore ? 0 : PERIOD_MS);
  }
}
