import type { Config, Env } from "../env.ts";
import type { Bucket } from "./bucket.ts";
import { s3Bucket } from "./s3-bucket.ts";

/**
 * The buckets of this edge, of which the first is used: that of the settings, then that of the binding ARTIFACTS, from which is read what
 * the first one does not have. docs/protocol.md 7.19.
 */
export function bucketsOf({ ARTIFACTS }: Pick<Env, "ARTIFACTS">, { s3 }: Pick<Config, "s3">): Bucket[] {
  return [...(s3 ? [s3Bucket(s3)] : []), ...(ARTIFACTS ? [boundBucket(ARTIFACTS)] : [])];
}

const JSON_TYPE = "application/json";

function boundBucket(bucket: R2Bucket): Bucket {
  return {
    async head(key) {
      const object = await bucket.head(key);
      if (object === null) return null;
      const contentType = object.httpMetadata?.contentType ?? JSON_TYPE;
      return { size: object.size, contentType, etag: object.httpEtag };
    },
    async get(key, range) {
      return (await bucket.get(key, { range }))?.body ?? null;
    },
    async put(key, body, contentType) {
      await bucket.put(key, body, { httpMetadata: { contentType } });
    },
    delete: (keys) => bucket.delete([...keys]),
    async list(prefix, after, limit) {
      const page = await bucket.list({ prefix, limit, ...(after !== undefined && { startAfter: after }) });
      const objects = page.objects.map(({ key, size, uploaded }) => ({
        key,
        size,
        storedMs: uploaded.getTime(),
      }));
      return { objects, hasMore: page.truncated };
    },
  };
}
