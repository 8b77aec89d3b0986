import { AppError } from "../../shared/errors.ts";
import type { Env } from "../env.ts";

export type ArtifactFacts = { size: number; contentType: string; etag: string };

/**
 * The object store of large values and files, as the edge uses it.
 * @throws AppError `artifacts_away` from each method while the store does not answer
 */
export type ArtifactStore = {
  /** Null: there is no such object. */
  facts(key: string): Promise<ArtifactFacts | null>;
  /** The bytes of an object, as they arrive: the edge never holds all of them. Null: there is no such object. */
  read(key: string, range: { offset: number; length: number }): Promise<ReadableStream | null>;
  /** A short range of an object, in memory. @throws Error when there is no such object */
  readBytes(this: void, key: string, offset: number, length: number): Promise<Uint8Array>;
  /**
   * Stores an object of `length` bytes that arrives in parts. No other object ever has its key. One part is in memory at a time: a
   * part is valid until the next one is requested. When no reply comes, a look-up shows whether the store has the object.
   * @throws AppError `not_yet` without an object store; `bad_request` when the parts end early; an AppError of the parts as it is
   */
  put(
    key: string,
    parts: AsyncIterable<Uint8Array>,
    object: { length: number; contentType: string },
  ): Promise<void>;
  delete(key: string): Promise<void>;
  /** One page of objects, in the order of their keys: keys with this `prefix`, beginning after the key `after`. `next`: the `after` of the next page. */
  list(prefix: string, after: string | undefined, limit: number): Promise<ArtifactPage>;
};

export type ArtifactPage = {
  objects: { key: string; size: number; contentType: string }[];
  next: string | null;
};

const JSON_TYPE = "application/json";

/** The object store behind the binding ARTIFACTS. Without the binding no value was ever stored there. */
export function openArtifacts({ ARTIFACTS: bucket }: Env): ArtifactStore {
  return {
    async facts(key) {
      const object = bucket === undefined ? null : await reached(bucket.head(key));
      if (object === null) return null;
      return { size: object.size, contentType: typeOf(object), etag: object.httpEtag };
    },
    async read(key, range) {
      const object = bucket === undefined ? null : await reached(bucket.get(key, { range }));
      // The runtime knows the length of this kind of stream only. For any other kind it leaves Content-Length out.
      return object?.body.pipeThrough(new FixedLengthStream(range.length)) ?? null;
    },
    async readBytes(key, offset, length) {
      if (bucket === undefined) throw away(new Error("this edge has no binding ARTIFACTS"));
      const object = await reached(bucket.get(key, { range: { offset, length } }));
      if (object === null) throw new Error(`the object store has no object ${key}`);
      return new Uint8Array(await reached(object.arrayBuffer()));
    },
    async put(key, parts, { length, contentType }) {
      if (bucket === undefined)
        throw new AppError("not_yet", "This deployment has no object store for files.");
      const ofLength = new FixedLengthStream(length);
      const sent = writeAll(ofLength.writable, parts);
      const stored = bucket.put(key, ofLength.readable, { httpMetadata: { contentType } });
      const [written, put] = await Promise.allSettled([sent, stored]);
      // A body that ended early is the client's fault, whatever error the store reports.
      if (written.status === "rejected" && put.status === "rejected") throw partsEnded(written.reason);
      if (put.status === "fulfilled") return;
      const object = await reached(bucket.head(key));
      if (object?.size !== length) await reached(Promise.reject(put.reason));
    },
    async delete(key) {
      await reached(bucket?.delete(key) ?? Promise.resolve());
    },
    async list(prefix, after, limit) {
      if (bucket === undefined) return { objects: [], next: null };
      const page = await reached(
        bucket.list({
          prefix,
          limit,
          include: ["httpMetadata"],
          ...(after !== undefined && { startAfter: after }),
        }),
      );
      const objects = page.objects.map((each) => ({
        key: each.key,
        size: each.size,
        contentType: typeOf(each),
      }));
      return { objects, next: page.truncated ? (objects.at(-1)?.key ?? null) : null };
    },
  };
}

function typeOf(object: R2Object): string {
  return object.httpMetadata?.contentType ?? JSON_TYPE;
}

async function writeAll(stream: WritableStream<Uint8Array>, parts: AsyncIterable<Uint8Array>): Promise<void> {
  const writer = stream.getWriter();
  try {
    for await (const part of parts) await writer.write(part);
    await writer.close();
  } catch (error) {
    // Without the abort the store would wait for the rest for ever.
    await writer.abort(error).catch(() => {});
    throw error;
  }
}

function partsEnded(cause: unknown): AppError {
  if (cause instanceof AppError) return cause;
  return new AppError("bad_request", "The body ended before its Content-Length.", { cause });
}

/** @throws AppError `artifacts_away` when the object store does not answer */
async function reached<Result>(answer: Promise<Result>): Promise<Result> {
  try {
    return await answer;
  } catch (cause) {
    throw away(cause);
  }
}

function away(cause: unknown): AppError {
  return new AppError("artifacts_away", "The object store cannot be reached; try again in a moment.", {
    cause,
    retryAfterSeconds: 2,
  });
}
