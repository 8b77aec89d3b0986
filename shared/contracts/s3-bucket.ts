import type { OpenSettings, SettingName } from "./setting.ts";

/** A bucket with what a process needs to reach it. `endpoint`: the store without the bucket, `https://s3.eu-central-1.amazonaws.com`. */
export type S3Bucket = {
  endpoint: string;
  bucket: string;
  region: string;
  accessKeyId: string;
  secretAccessKey: string;
};

/** The settings without which those of the object store name no bucket. */
export const S3_REQUIRED = [
  "S3_BUCKET",
  "S3_ACCESS_KEY_ID",
  "S3_SECRET_ACCESS_KEY",
] as const satisfies readonly SettingName[];

/** Cloudflare's object store. */
export const R2_HOST = /^[0-9a-f]{32}(\.[a-z]+)?\.r2\.cloudflarestorage\.com$/;

/**
 * The region and the endpoint of a store, where one of them is absent or empty. Without an endpoint it is Amazon S3. Without a region it
 * is `auto` for Cloudflare R2, else `us-east-1`.
 */
export function s3PlaceOf(
  endpoint: string | undefined,
  region: string | undefined,
): Pick<S3Bucket, "endpoint" | "region"> {
  const host = endpoint ? new URL(endpoint).hostname : "";
  const used = region || (R2_HOST.test(host) ? "auto" : "us-east-1");
  return { endpoint: endpoint || `https://s3.${used}.amazonaws.com`, region: used };
}

/** The bucket that the settings name; null: they name none, and that of the variables holds. */
export function s3BucketOf(settings: OpenSettings): S3Bucket | null {
  const {
    S3_BUCKET: bucket,
    S3_ACCESS_KEY_ID: accessKeyId,
    S3_SECRET_ACCESS_KEY: secretAccessKey,
  } = settings;
  if (bucket === undefined || accessKeyId === undefined || secretAccessKey === undefined) return null;
  return { ...s3PlaceOf(settings.S3_ENDPOINT, settings.S3_REGION), bucket, accessKeyId, secretAccessKey };
}
