export type ArtifactFacts = { size: number; contentType: string; etag: string };

/** An object of a list. `storedMs`: when it was stored, in milliseconds since 1970. */
export type ListedObject = { key: string; size: number; storedMs: number };

/** A bucket, behind a binding or over S3. Each method rejects when the store does not do what is asked. */
export type Bucket = {
  /** Null: there is no such object. */
  head(key: string): Promise<ArtifactFacts | null>;
  /** Bytes of an object, as they arrive. Null: there is no such object. */
  get(key: string, range: { offset: number; length: number }): Promise<ReadableStream | null>;
  /** @param body a FixedLengthStream, because the request to the store must have a Content-Length */
  put(key: string, body: ReadableStream, contentType: string): Promise<void>;
  /** Deletes objects, 1,000 at most. */
  delete(keys: readonly string[]): Promise<void>;
  /** Objects in the order of their keys, `limit` at most: keys with this `prefix`, beginning after the key `after`. */
  list(
    prefix: string,
    after: string | undefined,
    limit: number,
  ): Promise<{ objects: ListedObject[]; hasMore: boolean }>;
};
