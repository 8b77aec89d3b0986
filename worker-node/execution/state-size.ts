import { Reference } from "../../shared/contracts/journal-entry.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";

/**
 * The size of a run's state: of all its values as JSON, a reference counted as the value behind it. It is counted as values
 * are set, so that a step costs what its own values cost, however large the state is.
 */
export class StateSize {
  readonly #sizes = new Map<string, { bytes: number; held: number }>();
  readonly #onHeld: (bytes: number) => void;
  #bytes = 0;
  #heldBytes = 0;

  /** @param onHeld gets the bytes of the state that are in the memory of this process, of a reference its own, after each change */
  constructor(state: JsonObject, onHeld: (bytes: number) => void = () => {}) {
    this.#onHeld = onHeld;
    this.set(state);
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Records that these keys have these values from now on. */
  set(values: JsonObject): void {
    for (const [key, value] of Object.entries(values)) {
      const size = sizesOf(value);
      const before = this.#sizes.get(key) ?? { bytes: 0, held: 0 };
      this.#bytes += size.bytes - before.bytes;
      this.#heldBytes += size.held - before.held;
      this.#sizes.set(key, size);
    }
    this.#onHeld(this.#heldBytes);
  }
}

/** The bytes of a value as JSON, or of the value behind a reference. */
export function sizeOf(value: Json): number {
  return sizesOf(value).bytes;
}

function sizesOf(value: Json): { bytes: number; held: number } {
  const held = Buffer.byteLength(JSON.stringify(value));
  if (typeof value === "object" && value !== null && "$ref" in value) {
    const reference = Reference.safeParse(value);
    if (reference.success) return { bytes: reference.data.size, held };
  }
  return { bytes: held, held };
}
