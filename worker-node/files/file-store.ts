/** Where files are stored: the object store, as streams. Errors as those of `ObjectStore`. */
export type FileStore = {
  /**
   * Stores bytes as they arrive, a few MiB in memory at a time, under a key that no other object ever has. When no reply to the
   * last request comes, a look-up shows whether the store has the object. An error that `bytes` throws is thrown, and leaves no object.
   */
  putStream(key: string, bytes: AsyncIterable<Uint8Array>, contentType: string): Promise<void>;
  /** Bytes of an object, `length` at most. */
  readRange(key: string, offset: number, length: number): Promise<Uint8Array>;
  /** The objects whose keys begin with `prefix`, in the order of their keys, in pages of 1,000 at most. `ageMs`: since they were stored. */
  list(prefix: string, after?: string): AsyncIterable<{ key: string; size: number; ageMs: number }[]>;
  /** Deletes an object, or does nothing. */
  delete(key: string): Promise<void>;
};
