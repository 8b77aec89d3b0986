import { Readable } from "node:stream";
import { z } from "zod";
import type { Config } from "../config.ts";
import { ObjectStoreError } from "../execution/object-store.ts";
import type { ObjectStore } from "../execution/object-store.ts";
import type { FileStore } from "../files/file-store.ts";

/** The limit of one try of a request. A large body is sent in parts, one request each. */
const REQUEST_MS = 5_000;
/** The bytes of one part of a stream: one part is in flight while the next is filled. S3 takes 10,000 parts of an object: 80 GiB. */
const PART_BYTES = 8 * 1024 * 1024;

/** How to reach a bucket. `credentials` undefined: those of the SDK's default chain. */
export type S3Settings = {
  endpoint: string | undefined;
  bucket: string;
  region: string;
  credentials: { accessKeyId: string; secretAccessKey: string } | undefined;
  /** Limit of one try of a request; the SDK makes three. */
  requestMs?: number;
};

/** An object store that can also be checked: `check` rejects when the bucket cannot be reached. */
export type CheckedObjectStore = ObjectStore & FileStore & { check(): Promise<void> };

/** The object store of a worker; null when S3_BUCKET is not set. */
export function openObjectStore(config: Config): CheckedObjectStore | null {
  const { S3_BUCKET: bucket, S3_ACCESS_KEY_ID: accessKeyId, S3_SECRET_ACCESS_KEY: secretAccessKey } = config;
  if (!bucket) return null;
  const credentials = accessKeyId && secretAccessKey ? { accessKeyId, secretAccessKey } : undefined;
  return createObjectStore({ endpoint: config.S3_ENDPOINT, bucket, region: config.S3_REGION, credentials });
}

/**
 * The object store over S3: R2, MinIO, AWS, or the local one. Without credentials the SDK uses its default chain.
 *
 * The SDK is loaded with the first call: it takes longer to load than all the rest of a worker.
 */
export function createObjectStore(settings: S3Settings): CheckedObjectStore {
  const { endpoint, bucket, region, credentials, requestMs = REQUEST_MS } = settings;
  const load = async () => {
    const [s3, { Upload }] = await Promise.all([
      import("@aws-sdk/client-s3"),
      import("@aws-sdk/lib-storage"),
    ]);
    const client = new s3.S3Client({
      region,
      ...(endpoint && { endpoint, forcePathStyle: true }),
      ...(credentials && { credentials }),
      // R2 refuses the trailing checksums that the SDK would send with a stream.
      requestChecksumCalculation: "WHEN_REQUIRED",
      responseChecksumValidation: "WHEN_REQUIRED",
      // By default the SDK only warns of a request that takes longer.
      requestHandler: { connectionTimeout: 3_000, requestTimeout: requestMs, throwOnRequestTimeout: true },
    });
    return { ...s3, client, Upload };
  };
  let loaded: ReturnType<typeof load> | undefined;
  const sdk = (): ReturnType<typeof load> => (loaded ??= load());
  /** @throws the error of an upload, unless the store has an object of this length: no other object ever has the key */
  const requireStored = async (key: string, bytes: number, error: unknown): Promise<void> => {
    const { client, HeadObjectCommand } = await sdk();
    const object = await client.send(new HeadObjectCommand({ Bucket: bucket, Key: key })).catch(() => null);
    if (object?.ContentLength !== bytes) rethrow(error);
  };

  return {
    async put(key, body, contentType) {
      const { client, Upload } = await sdk();
      const params = { Bucket: bucket, Key: key, Body: body, ContentType: contentType };
      const { ETag } = await new Upload({ client, params }).done().catch(rethrow);
      if (!ETag) await requireStored(key, Buffer.byteLength(body), withoutReceipt());
    },
    async get(key, maxBytes) {
      const { client, GetObjectCommand } = await sdk();
      const rest = new AbortController();
      const command = new GetObjectCommand({ Bucket: bucket, Key: key });
      const object = await client.send(command, { abortSignal: rest.signal }).catch(rethrow);
      if ((object.ContentLength ?? 0) > maxBytes) {
        rest.abort();
        return null;
      }
      if (!object.Body) throw new Error(`the object ${key} is empty`);
      return object.Body.transformToString("utf8");
    },
    async putStream(key, bytes, contentType) {
      const { client, Upload } = await sdk();
      let passed: number | null = null;
      const counted = async function* () {
        let count = 0;
        for await (const part of bytes) {
          count += part.byteLength;
          yield part;
        }
        passed = count;
      };
      const Body = Readable.from(counted(), { objectMode: false });
      const params = { Bucket: bucket, Key: key, Body, ContentType: contentType };
      const upload = new Upload({ client, params, partSize: PART_BYTES, queueSize: 1 });
      try {
        const { ETag } = await upload.done();
        if (!ETag) throw withoutReceipt();
      } catch (error) {
        // The reply of the last request may be lost. The SDK then repeats it, and gets NoSuchUpload, although the object is there.
        if (passed === null) rethrow(error);
        await requireStored(key, passed, error);
      }
    },
    async readRange(key, offset, length) {
      const { client, GetObjectCommand } = await sdk();
      const rest = new AbortController();
      const Range = `bytes=${offset}-${offset + length - 1}`;
      const object = await client
        .send(new GetObjectCommand({ Bucket: bucket, Key: key, Range }), { abortSignal: rest.signal })
        .catch(rethrow);
      // A proxy may drop the header: then these are other bytes than the reader wants, and more.
      if ((object.ContentLength ?? 0) > length) {
        rest.abort();
        throw new ObjectStoreError("refused", "the reply is longer than the range of the request");
      }
      if (!object.Body) throw new Error(`the object ${key} is empty`);
      return object.Body.transformToByteArray();
    },
    async *list(prefix, after) {
      const { client, ListObjectsV2Command } = await sdk();
      let StartAfter = after;
      for (;;) {
        const page = await client
          .send(
            new ListObjectsV2Command({ Bucket: bucket, Prefix: prefix, ...(StartAfter && { StartAfter }) }),
          )
          .catch(rethrow);
        const objects = (page.Contents ?? []).flatMap(({ Key: key, Size: size = 0, LastModified: at }) =>
          key === undefined || at === undefined ? [] : [{ key, size, ageMs: Date.now() - at.getTime() }],
        );
        const last = objects.at(-1)?.key;
        // A store that ignores StartAfter sends the same page for ever.
        if (last !== undefined && last === StartAfter)
          throw new Error("the store sends a page of its list twice");
        if (objects.length > 0) yield objects;
        StartAfter = last;
        if (!page.IsTruncated || StartAfter === undefined) return;
      }
    },
    async delete(key) {
      const { client, DeleteObjectCommand } = await sdk();
      await client.send(new DeleteObjectCommand({ Bucket: bucket, Key: key })).catch(rethrow);
    },
    async check() {
      const { client, HeadBucketCommand } = await sdk();
      await client.send(new HeadBucketCommand({ Bucket: bucket }), {
        abortSignal: AbortSignal.timeout(3_000),
      });
    },
  };
}

/**
 * Each store that has taken an object replies with its ETag. The SDK also takes a reply without one for a success, such as the page of a
 * proxy with status 200.
 */
function withoutReceipt(): Error {
  return new Error("the reply to the upload has no ETag");
}

/** An error of the SDK: a response of the store, or a failure of its own, such as credentials that it does not find. */
const SdkError = z.object({
  name: z.string(),
  $metadata: z.object({ httpStatusCode: z.number().optional() }).optional(),
});
/**
 * Statuses below 500 of a store that is overloaded or slow: another try may succeed. After any other the same request would get the same
 * answer.
 */
const RETRIED_STATUSES: ReadonlySet<number> = new Set([408, 425, 429]);

/** @throws ObjectStoreError where the store's response means that another try would fail too; else the error as it is */
function rethrow(error: unknown): never {
  const parsed = SdkError.safeParse(error);
  const name = parsed.success ? parsed.data.name : "";
  const status = parsed.data?.$metadata?.httpStatusCode;
  const cause = { cause: error };
  if (name === "NoSuchKey") throw new ObjectStoreError("missing", `HTTP ${status}`, cause);
  if (name === "CredentialsProviderError")
    throw new ObjectStoreError("refused", "there are no credentials", cause);
  if (status === undefined || status < 300 || status >= 500 || RETRIED_STATUSES.has(status)) throw error;
  // The store's code for the error, such as AccessDenied. Its message may quote the request.
  const word = /^[A-Z][A-Za-z]{2,40}$/.test(name) && name !== "Error" ? `, ${name}` : "";
  throw new ObjectStoreError("refused", `HTTP ${status}${word}`, cause);
}
