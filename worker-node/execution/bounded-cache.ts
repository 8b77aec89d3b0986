/** A cache with at most `entries` entries and `chars` characters. The oldest entry is dropped first: a cache library would not save code. */
export class BoundedCache<Value> {
  readonly #most: { entries: number; chars: number };
  readonly #entries = new Map<string, { value: Value; chars: number }>();
  #chars = 0;

  constructor(most: { entries: number; chars: number }) {
    this.#most = most;
  }

  get(key: string): Value | undefined {
    return this.#entries.get(key)?.value;
  }

  /** Makes the entry the newest. It stays, also where it alone has more characters than all may have. */
  set(key: string, value: Value, chars: number): void {
    this.delete(key);
    this.#entries.set(key, { value, chars });
    this.#chars += chars;
    for (const oldest of this.#entries.keys()) {
      const isFull = this.#entries.size > this.#most.entries || this.#chars > this.#most.chars;
      if (!isFull || oldest === key) break;
      this.delete(oldest);
    }
  }

  delete(key: string): void {
    this.#chars -= this.#entries.get(key)?.chars ?? 0;
    this.#entries.delete(key);
  }
}
