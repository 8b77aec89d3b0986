/**
 * The configuration of workerd for `npm start` and for the image: each edge is a Worker with an isolate and a port of its own.
 *
 * All edges are in one process, because two processes that share a folder of R2 lose writes (44 of 200 concurrent PUTs).
 */
import { readFileSync } from "node:fs";
import { isIPv6 } from "node:net";
import { join, resolve } from "node:path";
import { rootCertificates } from "node:tls";
import { z } from "zod";
import { S3Keys, type EdgeBuild } from "./build.ts";
import { projectFolder } from "../processes/programs.ts";
import { capnpText, Embed, type Capnp } from "./capnp.ts";
import {
  bucketBinding,
  rateLimitBinding,
  simulatorExtensions,
  simulatorServices,
  s3Service,
} from "./simulators.ts";

export const EdgeSettings = z.object({
  /** The data folder of R2, rate limits and Durable Objects. */
  data: z.string(),
  /** The address on which the edges and the S3 endpoint listen; absent: 127.0.0.1. */
  host: z.string().optional(),
  /** One edge listens on each. */
  ports: z.array(z.int().positive()).min(1),
  s3Port: z.int().positive(),
  s3: S3Keys,
  postgresUrl: z.string(),
  /** Variables and secrets. They override those of wrangler.toml. */
  vars: z.record(z.string(), z.string()),
});
export type EdgeSettings = z.infer<typeof EdgeSettings>;

/** The text of the configuration. @param postgres the address at which workerd reaches the database of `settings.postgresUrl` */
export function workerdConfig(build: EdgeBuild, settings: EdgeSettings, postgres: string): string {
  const { data, ports } = settings;
  const [bucket] = Object.values(build.options.r2Buckets);
  const config: Capnp = {
    services: [
      ...ports.map((_, index) => edgeService(build, settings, index)),
      { name: "do:storage", disk: { path: durableObjectsFolder(data), writable: true } },
      { name: "postgres", external: { address: postgres, tcp: {} } },
      { name: "internet", network: { allow: ["public", "private", "240.0.0.0/4"], tlsOptions: trusted() } },
      ...assetServices(),
      cronService(),
      ...simulatorServices(data),
      ...(bucket ? [s3Service(bucket.id, settings.s3)] : []),
    ],
    sockets: [
      ...(bucket ? [socket(settings, "s3", settings.s3Port, "r2:s3")] : []),
      ...ports.map((port, index) => socket(settings, edgeName(index), port, edgeName(index))),
      { name: CRON, address: "127.0.0.1:0", service: { name: CRON }, http: {} },
    ],
    extensions: simulatorExtensions,
  };
  return `using Workerd = import "/workerd/workerd.capnp";\nconst config :Workerd.Config = ${capnpText(config)};\n`;
}

/** The name of the service that runs the cron trigger of the first edge, and of its socket, which is the last one. Its port is a free one. */
export const CRON = "cron";

/** The name of an edge and of its socket: the first is `edge-1`. */
function edgeName(index: number): string {
  return `edge-${index + 1}`;
}

/** The folder of the Durable Objects' storage. It must exist before workerd starts. */
export function durableObjectsFolder(data: string): string {
  return resolve(data, "do");
}

/** One Worker: the bindings of wrangler.toml, with the services of this machine behind them. */
function edgeService({ script, options }: EdgeBuild, settings: EdgeSettings, index: number): Capnp {
  const name = edgeName(index);
  const classes = Object.entries(options.durableObjects);
  return {
    name,
    worker: {
      modules: [{ name: "main.js", esModule: new Embed(script) }],
      compatibilityDate: options.compatibilityDate,
      // At this compatibility date the flag is on by default, and workerd refuses a configuration that sets it too.
      compatibilityFlags: options.compatibilityFlags.filter((flag) => flag !== "nodejs_compat"),
      bindings: [
        ...Object.entries({ ...options.bindings, ...settings.vars }).map(([variable, value]) =>
          typeof value === "string"
            ? { name: variable, text: value }
            : { name: variable, json: JSON.stringify(value) },
        ),
        ...classes.map(([binding, { className }]) => ({
          name: binding,
          durableObjectNamespace: { className, serviceName: name },
        })),
        ...Object.entries(options.r2Buckets).map(([binding, { id }]) => bucketBinding(binding, id)),
        ...Object.keys(options.hyperdrives).map((binding) => hyperdrive(binding, settings.postgresUrl)),
        { name: "ASSETS", service: { name: "assets" } },
        ...Object.entries(options.ratelimits).map(([binding, { namespace_id, simple }]) =>
          rateLimitBinding(binding, namespace_id, simple.limit, simple.period),
        ),
      ],
      durableObjectNamespaces: classes.map(([, { className }]) => ({
        className,
        uniqueKey: `${name}-${className}`,
        enableSql: true,
      })),
      durableObjectStorage: { localDisk: "do:storage" },
    },
  };
}

/** The static files, as the binding ASSETS of wrangler.toml serves them. */
function assetServices(): Capnp[] {
  const script = join(projectFolder, "local/edge/assets.worker.mjs");
  return [
    { name: "assets:files", disk: { path: join(projectFolder, "edge/assets") } },
    {
      name: "assets",
      worker: {
        modules: [{ name: "assets.js", esModule: new Embed(script) }],
        compatibilityDate: "2026-10-23",
        bindings: [{ name: "FILES", service: { name: "assets:files" } }],
      },
    },
  ];
}

function cronService(): Capnp {
  return {
    name: CRON,
    worker: {
      modules: [{ name: "cron.js", esModule: new Embed(join(projectFolder, "local/edge/cron.worker.mjs")) }],
      compatibilityDate: "2026-10-23",
      compatibilityFlags: ["service_binding_extra_handlers"],
      bindings: [{ name: "EDGE", service: { name: edgeName(0) } }],
    },
  };
}

/** User and password have the escapes of the URL, because workerd writes them into the binding's `connectionString` as they are. */
function hyperdrive(name: string, postgresUrl: string): Capnp {
  const { pathname, username, password } = new URL(postgresUrl);
  return {
    name,
    hyperdrive: {
      designator: { name: "postgres" },
      database: decodeURIComponent(pathname.slice(1)),
      user: username,
      password,
      scheme: "postgres",
    },
  };
}

/** The address of a socket of workerd, which takes an address of IPv6 in brackets only. */
export function listenAddress(host: string, port: number): string {
  return `${isIPv6(host) ? `[${host}]` : host}:${port}`;
}

function socket({ host = "127.0.0.1" }: EdgeSettings, name: string, port: number, service: string): Capnp {
  return { name, address: listenAddress(host, port), service: { name: service }, http: {} };
}

/** The certificate authorities that Node trusts, for machines without a store of certificates, and those of NODE_EXTRA_CA_CERTS. */
function trusted(): Capnp {
  const extra = process.env.NODE_EXTRA_CA_CERTS;
  return {
    trustBrowserCas: true,
    trustedCertificates: [...rootCertificates, ...(extra ? [readFileSync(extra, "utf8")] : [])],
  };
}
