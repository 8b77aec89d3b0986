import { Reference } from "../../shared/contracts/journal-entry.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";

/**
 * The size of a run's state: of all its values as JSON, a reference counted as the value behind it. It is counted as values
 * are set, so that a step costs what its own values cost, however large the state is.
 */
export class StateSize {
  readonly #sizes = new Map<string, number>();
  #bytes = 0;

  constructor(state: JsonObject) {
    this.set(state);
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Records that these keys have these values from now on. */
  set(values: JsonObject): void {
    for (const [key, value] of Object.entries(values)) {
      const size = sizeOf(value);
      this.#bytes += size - (this.#sizes.get(key) ?? 0);
      this.#sizes.set(key, size);
    }
  }
}

/** The bytes of a value as JSON, or of the value behind a reference. */
export function sizeOf(value: Json): number {
  if (typeof value === "object" && value !== null && "$ref" in value) {
    const reference = Reference.safeParse(value);
    if (reference.success) return reference.data.size;
  }
  return Buffer.byteLength(JSON.stringify(value));
}
