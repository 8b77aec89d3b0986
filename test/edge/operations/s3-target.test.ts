import { expect, test } from "vitest";
import { readConfig } from "../../../edge/env.ts";
import { s3TargetOf } from "../../../edge/operations/s3-test.ts";

const config = readConfig({
  UPSTASH_REDIS_REST_URL: "http://127.0.0.1:8079",
  UPSTASH_REDIS_REST_TOKEN: "token",
  REDIS_URL: "redis://127.0.0.1:6379",
  STREAM_TOKEN_SECRET: "a-secret-for-stream-tokens",
  EGRESS_ALLOW: "minio.internal,10.1.0.0/16",
});
const bucket = { s3_bucket: "files", s3_access_key_id: "id", s3_secret_access_key: "secret" };
const account = "0123456789abcdef0123456789abcdef";

test.each([
  ["", "", "https://s3.us-east-1.amazonaws.com", "us-east-1"],
  ["", "eu-central-1", "https://s3.eu-central-1.amazonaws.com", "eu-central-1"],
  ["https://s3.amazonaws.com", "", "https://s3.amazonaws.com/", "us-east-1"],
  [`https://${account}.r2.cloudflarestorage.com`, "", `https://${account}.r2.cloudflarestorage.com/`, "auto"],
  [
    `https://${account}.eu.r2.cloudflarestorage.com`,
    "auto",
    `https://${account}.eu.r2.cloudflarestorage.com/`,
    "auto",
  ],
  ["http://minio.internal:9000/store", "", "http://minio.internal:9000/store", "us-east-1"],
  ["http://10.1.2.3:9000", "", "http://10.1.2.3:9000/", "us-east-1"],
])("%j in the region %j is tested at %s, signed for %s", (s3_endpoint_url, s3_region, endpoint, region) => {
  const target = s3TargetOf(config, { ...bucket, s3_endpoint_url, s3_region });
  expect(target).toMatchObject({ endpoint, region, bucket: "files", prefix: "synapse" });
});

test.each([
  ["http://10.2.0.1:9000", /EGRESS_ALLOW/],
  ["https://169.254.169.254", /EGRESS_ALLOW/],
  ["https://files.example.com", /EGRESS_ALLOW/],
  // Names of Amazon and Cloudflare at which other servers are, and other ports and schemes of their stores.
  ["https://ec2-10-2-0-1.compute.amazonaws.com", /EGRESS_ALLOW/],
  ["https://s3.evil-amazonaws.com", /EGRESS_ALLOW/],
  ["https://s3.amazonaws.com.example.com", /EGRESS_ALLOW/],
  ["http://s3.amazonaws.com", /EGRESS_ALLOW/],
  ["https://s3.amazonaws.com:8443", /EGRESS_ALLOW/],
  ["http://10.1.2.3:6667", /the port 6667/],
  ["ftp://minio.internal", /https:\/\/ or http:\/\//],
  ["minio.internal", /https:\/\/ or http:\/\//],
  ["http://user:secret@minio.internal", /without user/],
  ["http://minio.internal/?x=1", /without user/],
])("%s is refused before anything connects", (s3_endpoint_url, reason) => {
  expect(() => s3TargetOf(config, { ...bucket, s3_endpoint_url })).toThrow(reason);
});

test("a request names a bucket and both parts of a key, or nothing", () => {
  expect(s3TargetOf(config, {})).toBeNull();
  expect(s3TargetOf(config, { s3_bucket: "", s3_region: "" })).toBeNull();
  expect(() => s3TargetOf(config, { s3_region: "auto" })).toThrow(/s3_bucket is missing/);
  expect(() => s3TargetOf(config, { s3_bucket: "files" })).toThrow(/s3_access_key_id is missing/);
  expect(() => s3TargetOf(config, { s3_bucket: "files", s3_access_key_id: "id" })).toThrow(
    /s3_secret_access_key is missing/,
  );
});
