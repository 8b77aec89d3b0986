import { AppError } from "../../shared/errors.ts";
import { UPLOAD_SILENCE_MS } from "../../shared/store/files/uploads.ts";
import { withinOrNull } from "../../shared/tasks/within-or-null.ts";
import type { ArtifactFacts, Bucket } from "./bucket.ts";

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
   * part is valid until the next one is requested. When no reply comes, a look-up shows whether the store has the object. A store that
   * takes no part, or sends no reply after the last one, for UPLOAD_SILENCE_MS is away: the row of the upload is given up by then.
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
  objects: { key: string; size: number }[];
  next: string | null;
};

/**
 * The object store of large values and files: the first of these buckets. What it does not have is read from the others. Without a bucket
 * no value was ever stored.
 */
export function openArtifacts([bucket, ...earlier]: readonly Bucket[]): ArtifactStore {
  const find = async <Found>(read: (from: Bucket) => Promise<Found | null>): Promise<Found | null> => {
    for (const from of bucket === undefined ? [] : [bucket, ...earlier]) {
      const found = await reached(read(from));
      if (found !== null) return found;
    }
    return null;
  };
  return {
    facts: (key) => find((from) => from.head(key)),
    async read(key, range) {
      const body = await find((from) => from.get(key, range));
      // The runtime knows the length of this kind of stream only. For any other kind it leaves Content-Length out.
      return body?.pipeThrough(new FixedLengthStream(range.length)) ?? null;
    },
    async readBytes(key, offset, length) {
      if (bucket === undefined) throw away(new Error("this edge has no binding ARTIFACTS"));
      const body = await find((from) => from.get(key, { offset, length }));
      if (body === null) throw new Error(`the object store has no object ${key}`);
      return reached(new Response(body).bytes());
    },
    async put(key, parts, { length, contentType }) {
      if (bucket === undefined)
        throw new AppError("not_yet", "This deployment has no object store for files.");
      const ofLength = new FixedLengthStream(length);
      const sent = writeAll(ofLength.writable, parts);
      const stored = Promise.allSettled([bucket.put(key, ofLength.readable, contentType)]);
      const [written] = await Promise.allSettled([sent]);
      const [put] = (await withinOrNull(stored, UPLOAD_SILENCE_MS)) ?? [
        { status: "rejected", reason: silence() },
      ];
      // A body that ended early is the client's fault, whatever error the store reports.
      if (written.status === "rejected" && put.status === "rejected") throw partsEnded(written.reason);
      if (put.status === "fulfilled") return;
      const object = await reached(bucket.head(key));
      if (object?.size !== length) await reached(Promise.reject(put.reason));
    },
    async delete(key) {
      await reached(bucket?.delete([key]) ?? Promise.resolve());
    },
    async list(prefix, after, limit) {
      if (bucket === undefined) return { objects: [], next: null };
      const { objects, hasMore } = await reached(bucket.list(prefix, after, limit));
      return { objects, next: hasMore ? (objects.at(-1)?.key ?? null) : null };
    },
  };
}

async function writeAll(stream: WritableStream<Uint8Array>, parts: AsyncIterable<Uint8Array>): Promise<void> {
  const writer = stream.getWriter();
  try {
    for await (const part of parts) await taken(writer.write(part));
    await taken(writer.close());
  } catch (error) {
    // Without the abort the store would wait for the rest for ever. It may itself wait for a store that takes no part.
    writer.abort(error).catch(() => {});
    throw error;
  }
}

/** @throws AppError `artifacts_away` when the store does not take a part in time */
async function taken(write: Promise<void>): Promise<void> {
  const isTaken = await withinOrNull(
    write.then(() => true),
    UPLOAD_SILENCE_MS,
  );
  if (isTaken === null) throw away(silence());
}

function silence(): Error {
  return new Error("the object store did not answer in time");
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
