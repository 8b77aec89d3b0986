import type { TenantId } from "../../shared/contracts/ids.ts";
import { isObject, JsonValue } from "../../shared/contracts/json.ts";
import type { JsonObject } from "../../shared/contracts/json.ts";
import type { StateStore } from "../../shared/store/state.ts";
import { BoundedCache } from "./bounded-cache.ts";

/** The oldest read whose result an execution uses that began before it. */
const MAX_AGE_MS = 1_000;
const MOST = { entries: 1_000, chars: 16 * 1024 * 1024 };

type Kind = "agents" | "tools";
/** `startedMs`: the time of `performance.now()` at which the read was sent. */
type Read = { startedMs: number; found: Promise<Found> };
type Found = { definition: JsonObject | null; chars: number };

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
   * open only for it.
   * @param beganMs the time of `performance.now()` at which the execution began
   * @throws what the store throws; the next call reads again
   */
  async named(kind: Kind, tenant: TenantId, id: string, beganMs: number): Promise<JsonObject | null> {
    const key = `${kind}\0${tenant}\0${id}`;
    const nowMs = performance.now();
    const last = this.#reads.get(key);
    if (last && last.startedMs >= Math.max(beganMs, nowMs - MAX_AGE_MS)) return (await last.found).definition;
    const read = { startedMs: nowMs, found: this.#read(kind, tenant, id) };
    this.#reads.set(key, read, 0);
    try {
      const { definition, chars } = await read.found;
      // A newer read may have begun meanwhile.
      if (this.#reads.get(key) === read) this.#reads.set(key, read, chars);
      return definition;
    } catch (error) {
      if (this.#reads.get(key) === read) this.#reads.delete(key);
      throw error;
    }
  }

  async #read(kind: Kind, tenant: TenantId, id: string): Promise<Found> {
    const stored = await this.#store.readDefinition(kind, tenant, id);
    if (stored === null) return { definition: null, chars: 0 };
    const json = JsonValue.parse(JSON.parse(stored.definition));
    const definition = isObject(json) ? { ...json, owner: stored.owner } : null;
    return { definition, chars: stored.definition.length };
  }
}
