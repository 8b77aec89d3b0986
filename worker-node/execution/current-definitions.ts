import type { TenantId } from "../../shared/contracts/ids.ts";
import { isObject, JsonValue } from "../../shared/contracts/json.ts";
import type { JsonObject } from "../../shared/contracts/json.ts";
import type { StateStore } from "../../shared/store/state.ts";
import { BoundedCache } from "./bounded-cache.ts";

/** The oldest read whose result an execution uses that began before it. */
const MAX_AGE_MS = 1_000;
const MOST = { entries: 1_000, chars: 16 * 1024 * 1024 };

type Kind = "agents" | "tools";
/** `startedMs`: the time of `performance.now()` at which the read was sent. `found`: what it has found, or will find. */
type Read = { startedMs: number; found: Found | Promise<Found> };
type Definition = JsonObject | null;
/** `stored`: the row that the definition was parsed from; null: there is none. */
type Found = { definition: Definition; stored: { owner: string; definition: string } | null };

/**
 * The current definitions of agents and tools, as the steps of all executions read them. The executions of a worker share reads.
 *
 * A run never gets a definition that was replaced before the run was submitted, because an execution uses no read that was
 * sent before the execution began. A change while it executes acts after a second at most.
 */
export class CurrentDefinitions {
  readonly #store: Pick<StateStore, "readDefinition">;
  readonly #reads = new BoundedCache<Read>(MOST);

  constructor(store: Pick<StateStore, "readDefinition">) {
    this.#store = store;
  }

  /**
   * The tenant's own definition, else the shared one, else null. `owner` is that of the row: the sealed secrets of a tool
   * open only for it. At once, if a read that this execution may use has ended.
   * @param beganMs the time of `performance.now()` at which the execution began
   * @throws what the store throws; the next call reads again
   */
  named(kind: Kind, tenant: TenantId, id: string, beganMs: number): Definition | Promise<Definition> {
    const key = `${kind}\0${tenant}\0${id}`;
    const nowMs = performance.now();
    const last = this.#reads.get(key);
    if (!last || last.startedMs < Math.max(beganMs, nowMs - MAX_AGE_MS))
      return this.#readAnew(key, nowMs, this.#read(kind, tenant, id, last));
    const { found } = last;
    return found instanceof Promise ? found.then(({ definition }) => definition) : found.definition;
  }

  async #readAnew(key: string, startedMs: number, reading: Promise<Found>): Promise<Definition> {
    const read: Read = { startedMs, found: reading };
    this.#reads.set(key, read, 0);
    try {
      const found = await reading;
      read.found = found;
      // A newer read may have begun meanwhile.
      if (this.#reads.get(key) === read) this.#reads.set(key, read, found.stored?.definition.length ?? 0);
      return found.definition;
    } catch (error) {
      if (this.#reads.get(key) === read) this.#reads.delete(key);
      throw error;
    }
  }

  /** A definition that has not changed since the last read stays the same object, so that it is parsed once by all that use it. */
  async #read(kind: Kind, tenant: TenantId, id: string, last: Read | undefined): Promise<Found> {
    const stored = await this.#store.readDefinition(kind, tenant, id);
    if (stored === null) return { definition: null, stored };
    const before = last?.found;
    if (before && !(before instanceof Promise) && isSame(before.stored, stored)) return before;
    const json = JsonValue.parse(JSON.parse(stored.definition));
    return { definition: isObject(json) ? { ...json, owner: stored.owner } : null, stored };
  }
}

function isSame(before: Found["stored"], now: NonNullable<Found["stored"]>): boolean {
  return before !== null && before.owner === now.owner && before.definition === now.definition;
}
