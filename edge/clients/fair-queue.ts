import { MAX_WAITING_BYTES } from "../../shared/contracts/run.ts";

/** The most waiting items of one tenant. Further items are refused, so that a tenant does not take the room of others. */
const MAX_TENANT_ITEMS = 1_000;

/** The most waiting items of all tenants: the last of more would not be served before its client gives up. Their bytes fit into an object. */
const MAX_ITEMS = 4_000;
const MAX_BYTES = 64 * 1024 * 1024;

/** The bounds of one batch, which becomes one statement, one script or one call between objects. */
const MAX_BATCH_ITEMS = 128;
const MAX_BATCH_BYTES = 4 * 1024 * 1024;

/** An item of a tenant, and about how many bytes it takes while it waits. */
export type Sized = { tenant: string; bytes: number };

/**
 * Items that wait for their batch. Tenants take turns in every batch: the items of a tenant that sends much wait for each other,
 * and items of other tenants do not wait for them. The queue is bounded in items and bytes, for each tenant and for all together.
 */
export class FairQueue<Item extends Sized> {
  /** By tenant, in the order of their turns. */
  readonly #waiting = new Map<string, { items: Item[]; bytes: number }>();
  #size = 0;
  #bytes = 0;

  get size(): number {
    return this.#size;
  }

  /** @returns false when as much waits as the tenant, or all tenants together, may have: the item was not added */
  add(item: Item): boolean {
    const own = this.#waiting.get(item.tenant) ?? { items: [], bytes: 0 };
    // One item always fits, however large.
    const isFull =
      own.items.length > 0 &&
      (own.items.length >= MAX_TENANT_ITEMS || own.bytes + item.bytes > MAX_WAITING_BYTES);
    const isAllFull = this.#size >= MAX_ITEMS || (this.#size > 0 && this.#bytes + item.bytes > MAX_BYTES);
    if (isFull || isAllFull) return false;
    own.items.push(item);
    own.bytes += item.bytes;
    this.#bytes += item.bytes;
    this.#size += 1;
    this.#waiting.set(item.tenant, own);
    return true;
  }

  /**
   * Takes the items of the next batch: one of each tenant in turn, up to 128 and 4 MiB.
   * @param leaderBytes the size of an item that the batch has already; absent: it has none
   */
  takeBatch(leaderBytes?: number): Item[] {
    const batch: Item[] = [];
    const free = MAX_BATCH_ITEMS - (leaderBytes === undefined ? 0 : 1);
    let bytes = leaderBytes ?? 0;
    for (let next = this.#peek(); next && batch.length < free; next = this.#peek()) {
      if (bytes > 0 && bytes + next.bytes > MAX_BATCH_BYTES) break;
      bytes += next.bytes;
      this.#take(next);
      batch.push(next);
    }
    return batch;
  }

  takeNext(): Item | undefined {
    const next = this.#peek();
    if (next) this.#take(next);
    return next;
  }

  #take(item: Item): void {
    this.remove(item);
    this.#endTurn(item.tenant);
  }

  /** The oldest item of the tenant whose turn it is. */
  #peek(): Item | undefined {
    const [own] = this.#waiting.values();
    return own?.items[0];
  }

  /** @returns false when the item does not wait any more */
  remove(item: Item): boolean {
    const own = this.#waiting.get(item.tenant);
    const at = own?.items.indexOf(item) ?? -1;
    if (!own || at < 0) return false;
    own.items.splice(at, 1);
    own.bytes -= item.bytes;
    this.#bytes -= item.bytes;
    this.#size -= 1;
    if (own.items.length === 0) this.#waiting.delete(item.tenant);
    return true;
  }

  /** The tenant's next turn comes after those of all others. */
  #endTurn(tenant: string): void {
    const own = this.#waiting.get(tenant);
    if (!own) return;
    this.#waiting.delete(tenant);
    this.#waiting.set(tenant, own);
  }
}
