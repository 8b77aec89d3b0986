/** A queue in which tenants take turns: first the oldest item of each tenant, then the second of each, and so on. */
export class FairQueue<Item> {
  /** The items of each tenant in the order in which they came; the tenants in the order of their turns. */
  readonly #tenants = new Map<string, Item[]>();

  push(tenant: string, item: Item): void {
    const items = this.#tenants.get(tenant);
    if (items) items.push(item);
    else this.#tenants.set(tenant, [item]);
  }

  /** Takes the next item of the first tenant in turn for which `mayTake` is true; undefined: there is none. */
  take(mayTake: (tenant: string) => boolean): Item | undefined {
    for (const [tenant, items] of this.#tenants) {
      if (!mayTake(tenant)) continue;
      const item = items.shift();
      this.#tenants.delete(tenant);
      if (items.length > 0) this.#tenants.set(tenant, items);
      return item;
    }
    return undefined;
  }

  /** False when the item is not in the queue. */
  remove(tenant: string, item: Item): boolean {
    const items = this.#tenants.get(tenant) ?? [];
    const at = items.indexOf(item);
    if (at < 0) return false;
    items.splice(at, 1);
    if (items.length === 0) this.#tenants.delete(tenant);
    return true;
  }

  /** Takes all items. */
  clear(): Item[] {
    const items = [...this.#tenants.values()].flat();
    this.#tenants.clear();
    return items;
  }
}
