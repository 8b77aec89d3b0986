import type { ObjectStore } from "../execution/large-values.ts";

/** Of one try of a request; what is large goes in parts of 5 MiB. */
const REQUEST_MS = 5_000;

export type S3Settings = {
  endpoint: string | undefined;
  bucket: string;
  region: string;
  credentials: { accessKeyId: string; secretAccessKey: string } | undefined;
  /** Limit of one try of a request; the SDK makes three. */
  requestMs?: number;
};

/** An object store that can also be asked whether it is there. */
export type CheckedObjectStore = ObjectStore & { check(): Promise<void> };

/**
 * The object store over S3: R2, MinIO, AWS, or the local one. Without credentials the SDK's default chain is asked.
 *
 * The SDK is loaded with the first call: it takes longer to load than all the rest of a worker.
 */
export function createObjectStore(settings: S3Settings): CheckedObjectStore {
  const { endpoint, bucket, region, credentials, requestMs = REQUEST_MS } = settings;
  const load = async () => {
    const [{ S3Client, GetObjectCommand, HeadBucketCommand }, { Upload }] = await Promise.all([
      import("@aws-sdk/client-s3"),
      import("@aws-sdk/lib-storage"),
    ]);
    const client = new S3Client({
      region,
      ...(endpoint && { endpoint, forcePathStyle: true }),
      ...(credentials && { credentials }),
      // R2 does not know the trailing checksums that the SDK would send with a stream.
      requestChecksumCalculation: "WHEN_REQUIRED",
      responseChecksumValidation: "WHEN_REQUIRED",
      // By itself the SDK only warns of a request that takes longer.
      requestHandler: { connectionTimeout: 3_000, requestTimeout: requestMs, throwOnRequestTimeout: true },
    });
    return { client, GetObjectCommand, HeadBucketCommand, Upload };
  };
  let loaded: ReturnType<typeof load> | undefined;
  const sdk = (): ReturnType<typeof load> => (loaded ??= load());

  return {
    async put(key, body, contentType) {
      const { client, Upload } = await sdk();
      await new Upload({
        client,
        params: { Bucket: bucket, Key: key, Body: body, ContentType: contentType },
      }).done();
    },
    async get(key) {
      const { client, GetObjectCommand } = await sdk();
      const object = await client.send(new GetObjectCommand({ Bucket: bucket, Key: key }));
      if (!object.Body) throw new Error(`the object ${key} is empty`);
      return object.Body.transformToString("utf8");
    },
    async check() {
      const { client, HeadBucketCommand } = await sdk();
      await client.send(new HeadBucketCommand({ Bucket: bucket }), {
        abortSignal: AbortSignal.timeout(3_000),
      });
    },
  };
}
