/** An object store in memory, for tests of the order in which objects and rows are written. `test/workerd` has the real ones. */
import { ObjectStoreError } from "../../worker-node/execution/object-store.ts";
import type { FileStore } from "../../worker-node/files/file-store.ts";

export class MemoryBucket implements FileStore {
  readonly objects = new Map<string, Uint8Array>();
  /** Every call is refused, as by a store that does not answer. */
  isAway = false;
  /** Objects that the store refuses to delete, as those with an object lock. */
  readonly locked = new Set<string>();

  async putStream(key: string, bytes: AsyncIterable<Uint8Array>): Promise<void> {
    this.#reach();
    const parts: Uint8Array[] = [];
    for await (const part of bytes) parts.push(part);
    this.objects.set(key, Buffer.concat(parts));
  }

  readonly readRange = async (key: string, offset: number, length: number): Promise<Uint8Array> => {
    this.#reach();
    const object = this.objects.get(key);
    if (object === undefined) throw new Error(`the bucket has no object ${key}`);
    return Uint8Array.from(object.subarray(offset, offset + length));
  };

  async *list(prefix: string, after = ""): AsyncGenerator<{ key: string; size: number; ageMs: number }[]> {
    this.#reach();
    const keys = [...this.objects.keys()].filter((key) => key.startsWith(prefix) && key > after).toSorted();
    if (keys.length > 0)
      yield keys.map((key) => ({ key, size: this.objects.get(key)?.length ?? 0, ageMs: 0 }));
  }

  async delete(key: string): Promise<void> {
    this.#reach();
    if (this.locked.has(key)) throw new ObjectStoreError("refused", "HTTP 403, ObjectLocked");
    this.objects.delete(key);
  }

  #reach(): void {
    if (this.isAway) throw new Error("the bucket does not answer");
  }
}
