/**
 * Serves the built edge with Miniflare: several Workers of one Miniflare, each an isolate with its own port.
 *
 * All edges are in one process, because two processes that share an R2 folder lose writes (44 of 200 concurrent
 * PUTs were lost). Each Worker has a socket of its own. Miniflare's own port halves the throughput (2,500
 * requests/s against 5,500), so it serves only the bucket's S3 endpoint, `/cdn-cgi/local/r2/s3`, which the
 * sockets do not serve.
 */
import { dirname } from "node:path";
import { convertV4MiniflareOptions, Miniflare, type V4WorkerOptions } from "miniflare";
import { z } from "zod";
import { S3Keys, type EdgeBuild } from "./build.ts";

export const EdgeSettings = z.object({
  /** The folder of an existing build. */
  build: z.string(),
  /** The data folder of R2 and Durable Objects. */
  data: z.string(),
  /** Each gets an edge. */
  ports: z.array(z.int().positive()).min(1),
  s3Port: z.int().positive(),
  s3: S3Keys,
  postgresUrl: z.string(),
  /** Variables and secrets. They override those of wrangler.toml. */
  vars: z.record(z.string(), z.string()),
});
export type EdgeSettings = z.infer<typeof EdgeSettings>;

/** Starts the edges on 127.0.0.1. They listen when this resolves. */
export async function startEdges(
  build: EdgeBuild,
  settings: EdgeSettings,
): Promise<{ stop(): Promise<void> }> {
  const workers = settings.ports.map((port, index) => edgeWorker(build, settings, `edge-${index + 1}`, port));
  const miniflare = new Miniflare(
    convertV4MiniflareOptions({
      host: "127.0.0.1",
      port: settings.s3Port,
      cf: false,
      resourcePersistencePath: settings.data,
      workers,
    }),
  );
  await miniflare.ready;
  return { stop: () => miniflare.dispose() };
}

/** One Worker: the bindings of wrangler.toml, with the services of this machine behind them. */
function edgeWorker(build: EdgeBuild, settings: EdgeSettings, name: string, port: number): V4WorkerOptions {
  const { script } = build;
  // Without assets: their router doubles the processor time of every request, and the API does not need them.
  const { assets: _assets, ...options } = build.options;
  const buckets = Object.entries(options.r2Buckets).map(([binding, bucket]) => [
    binding,
    { ...bucket, s3Credentials: settings.s3 },
  ]);
  return {
    ...options,
    name,
    modules: [{ type: "ESModule", path: script }],
    modulesRoot: dirname(script),
    bindings: { ...options.bindings, ...settings.vars },
    hyperdrives: Object.fromEntries(
      Object.keys(options.hyperdrives).map((binding) => [binding, settings.postgresUrl]),
    ),
    r2Buckets: Object.fromEntries(buckets),
    unsafeDirectSockets: [{ host: "127.0.0.1", port }],
  };
}
