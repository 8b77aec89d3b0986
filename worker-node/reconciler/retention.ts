import type { RepairParts } from "./parts.ts";

/** A fleet whose workers are replaced every hour comes to it too. */
const FIRST_MS = 60_000;
const PERIOD_MS = 300_000;

/**
 * Deletes what nobody needs any more: every five minutes, and a page with each pass until there is no more of it, so
 * that it keeps up with whatever is written.
 */
export class Retention {
  readonly #store: RepairParts["store"];
  #nextMs = performance.now() + FIRST_MS;

  constructor({ store }: Pick<RepairParts, "store">) {
    this.#store = store;
  }

  async pass(): Promise<void> {
    if (performance.now() < this.#nextMs) return;
    const more = await this.#store.deleteExpired();
    if (!more) this.#nextMs = performance.now() + PERIOD_MS;
  }
}
