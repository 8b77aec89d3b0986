/**
 * R2 and rate limits for workerd, which has neither: the simulators in Miniflare's package.
 *
 * They are Workers, and need nothing of Miniflare's process: a Durable Object (SQLite) holds the names, and a folder the
 * bodies. They have Miniflare's names and unique keys, so that they can use a data folder that Miniflare wrote.
 */
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { Embed, type Capnp } from "./capnp.ts";

const workers = join(createRequire(import.meta.url).resolve("miniflare"), "../workers");

/** Miniflare's names of each simulator: the folder of its data, its class, and its script. */
const r2 = { folder: "r2", className: "R2BucketObject", script: "r2/bucket" };
const rateLimit = {
  folder: "ratelimit",
  className: "RateLimiterObject",
  script: "ratelimit/ratelimit-object",
};

/** Modules that the simulators import. */
export const simulatorExtensions: Capnp[] = [
  {
    modules: [
      { name: "miniflare:shared", esModule: script("shared/index") },
      { name: "miniflare:zod", esModule: script("shared/zod") },
      {
        name: "cloudflare-internal:ratelimit:module",
        esModule: script("ratelimit/ratelimit"),
        internal: true,
      },
    ],
  },
];

/** The services of both simulators, with their data in folders of `data`. */
export function simulatorServices(data: string): Capnp[] {
  return [r2, rateLimit].flatMap(({ folder, className, script: file }) => [
    { name: `${folder}:storage`, disk: { path: resolve(data, folder), writable: true } },
    {
      name: `${folder}:object`,
      worker: {
        modules: [{ name: "object.worker.js", esModule: script(file) }],
        compatibilityDate: "2023-07-24",
        compatibilityFlags: ["nodejs_compat", "experimental"],
        durableObjectNamespaces: [{ className, uniqueKey: `miniflare-${className}`, enableSql: true }],
        durableObjectStorage: { localDisk: `${folder}:storage` },
        bindings: [{ name: "MINIFLARE_BLOBS", service: { name: `${folder}:storage` } }],
      },
    },
    {
      name: `${folder}:entry`,
      worker: {
        modules: [{ name: "entry.worker.js", esModule: script("shared/object-entry") }],
        compatibilityDate: "2023-07-24",
        bindings: [
          {
            name: "MINIFLARE_OBJECT",
            durableObjectNamespace: { serviceName: `${folder}:object`, className },
          },
        ],
      },
    },
  ]);
}

/** The folders of both simulators in `data`. They must exist before workerd starts, which does not make them. */
export function simulatorFolders(data: string): string[] {
  return [r2, rateLimit].map(({ folder }) => resolve(data, folder));
}

/** A binding to the R2 simulator. @param bucket the name of the bucket */
export function bucketBinding(name: string, bucket: string): Capnp {
  return { name, r2Bucket: entryOf(r2.folder, bucket) };
}

/** A binding to the simulator of rate limits. @param limit the calls that one key may make in `period` seconds */
export function rateLimitBinding(name: string, namespace: string, limit: number, period: number): Capnp {
  const innerBindings = [
    { name: "fetcher", service: entryOf(rateLimit.folder, namespace) },
    { name: "limit", json: String(limit) },
    { name: "period", json: String(period) },
  ];
  return { name, wrapped: { moduleName: "cloudflare-internal:ratelimit:module", innerBindings } };
}

/** The S3 endpoint of `bucket`, at `/cdn-cgi/local/r2/s3`. */
export function s3Service(bucket: string, keys: { accessKeyId: string; secretAccessKey: string }): Capnp {
  return {
    name: "r2:s3",
    worker: {
      modules: [{ name: "s3.worker.js", esModule: script("r2/s3/index") }],
      compatibilityDate: "2026-01-01",
      compatibilityFlags: ["nodejs_compat"],
      bindings: [
        bucketBinding(`MINIFLARE_R2_S3_BUCKET_${bucket}`, bucket),
        { name: "MINIFLARE_R2_S3_CREDENTIALS", json: JSON.stringify({ [bucket]: keys }) },
      ],
    },
  };
}

function entryOf(folder: string, namespace: string): Capnp {
  return { name: `${folder}:entry`, props: { json: JSON.stringify({ MINIFLARE_NAMESPACE: namespace }) } };
}

function script(name: string): Embed {
  return new Embed(join(workers, `${name}.worker.js`));
}
