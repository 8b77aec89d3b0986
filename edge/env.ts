import { z } from "zod";
import { TenantId } from "../shared/contracts/ids.ts";
import type { NewRun, SubmitResult } from "../shared/contracts/run.ts";
import { s3BucketOf } from "../shared/contracts/s3-bucket.ts";
import type { S3Bucket } from "../shared/contracts/s3-bucket.ts";
import { egressPolicyOf } from "../shared/security/egress-policy.ts";
import { DEFAULT_SHARDS } from "../shared/keys.ts";
import { messageOf } from "../shared/log.ts";
import type { Row } from "../shared/store/sql.ts";
import { originList } from "../shared/contracts/origin.ts";
import { collector, onOff, secretText, settingSchemas, wholeNumber } from "../shared/contracts/setting.ts";
import type { OpenSettings } from "../shared/contracts/setting.ts";
import {
  exportHeaders,
  resourceAttributes,
  sampler,
  samplerRatio,
} from "../shared/tracing/otel-variables.ts";
import { bothSet, masterKey, masterKeys } from "../shared/security/master-keys.ts";

/** The intake object of a queue shard, as requests call it. The results are in the order of the runs. */
export type IntakeObject = Rpc.DurableObjectBranded & { submit(runs: NewRun[]): Promise<SubmitResult[]> };

/** The result of a statement. Not `ok`: the driver's error; or, with a `code` of the API, the reason why it was not executed. */
export type StatementReply =
  | { ok: true; rows: Row[]; count: number }
  | { ok: false; name: string; message: string; code: string | null; retryAfterSeconds: number | null };

/** A statement, whose text has $1, $2 … in place of its values. `tenant`: the tenant whose turn it takes. */
export type StatementCall = { text: string; values: unknown[]; tenant: string };

/** The name of a reply that was not ready when its call was answered: `collect` returns it later. */
export type LateReply = { late: string };

/** The object that keeps connections to Postgres, as requests call it. */
export type DatabaseObject = {
  execute(statement: StatementCall): Promise<StatementReply>;
  /** Executes statements that only read. The replies are in their order. */
  read(statements: StatementCall[]): Promise<(StatementReply | LateReply)[]>;
  collect(late: LateReply[]): Promise<(StatementReply | LateReply)[]>;
};

/** The bindings of this Worker, as wrangler.toml configures them. */
export type Env = {
  HYPERDRIVE: Hyperdrive;
  RELAY: DurableObjectNamespace;
  FEED: DurableObjectNamespace;
  INTAKE: DurableObjectNamespace<IntakeObject>;
  /** Only the used part of the namespace: its own type recurses through the rows without end. */
  DATABASE: { getByName(name: string): DatabaseObject };
  /** Absent: the workers have no object store either, and large values are in Postgres. */
  ARTIFACTS?: R2Bucket;
  /** The static files of edge/assets. Absent in tests without a runtime. */
  ASSETS?: Fetcher;
  /** Absent where the platform has no rate limiter. */
  KEY_LOOKUPS?: RateLimit;
};

const NO_TOKEN = "is not set: it is the token of Upstash, or REDIS_REST_TOKEN of redis-rest";
const ONE_REDIS =
  "must be one address, redis://… or rediss://…: an edge speaks to no Redis Cluster and no Sentinel, give it the address that leads to the master";

/** The secrets, which `wrangler secret put` stores. The API masks all of them. */
const Secrets = z.object({
  UPSTASH_REDIS_REST_TOKEN: z.string(NO_TOKEN).min(1, NO_TOKEN),
  STREAM_TOKEN_SECRET: z.string("is not set: openssl rand -hex 32").pipe(secretText()),
  /** Absent: the workers reach Postgres directly, and /internal does not exist. */
  STATE_SECRET: secretText().optional(),
  /** The token that a scraper may send instead of an API key. It opens the metrics alone. */
  METRICS_TOKEN: settingSchemas.METRICS_TOKEN.optional(),
  /** Headers of each export of spans, such as the key of a vendor. */
  OTEL_EXPORTER_OTLP_HEADERS: exportHeaders().optional(),
  /** Absent: requests with a secret to seal are refused. */
  MASTER_KEY: masterKey().optional(),
  /** Several keys, `id:key,id:key`, in place of MASTER_KEY, to rotate it: the first seals, and all open. */
  MASTER_KEYS: masterKeys().optional(),
});

/** The variables and secrets of the Worker. */
const Config = Secrets.extend({
  UPSTASH_REDIS_REST_URL: z.url("must be the http(s) address of Upstash or of redis-rest"),
  REDIS_URL: z
    .string(ONE_REDIS)
    .regex(/^rediss?:\/\//, ONE_REDIS)
    .refine((url) => URL.parse(url)?.hostname.includes(",") === false, ONE_REDIS),
  /** Private hosts and networks to which webhooks may nevertheless be sent. The workers must have the same value. */
  EGRESS_ALLOW: z
    .string()
    .default("")
    .transform((list, context) => {
      try {
        return egressPolicyOf(list);
      } catch (error) {
        context.addIssue({ code: "custom", message: messageOf(error) });
        return z.NEVER;
      }
    }),
  QUEUE_SHARDS: wholeNumber(1, 256).default(DEFAULT_SHARDS.queue),
  EVENT_SHARDS: wholeNumber(1, 1024).default(DEFAULT_SHARDS.event),
  DEFAULT_TENANT_ID: TenantId.default(TenantId.parse("default")),
  ENABLE_TENANT_ISOLATION: onOff.default(true),
  /** 1: while Redis is unreachable or being rebuilt, Postgres checks the quotas of new runs; 0: new runs are refused. */
  ACCEPT_WHEN_REDIS_DOWN: onOff.default(true),
  /** 0 behind a PgBouncer before 1.21, which loses named statements. Miniflare's Hyperdrive drops `?prepare=false`. */
  PREPARE_STATEMENTS: onOff.default(true),
  /** The collector of traces by gRPC, as for workers. Without it and without OTLP_HTTP_ENDPOINT this edge traces nothing. */
  OTLP_ENDPOINT: collector.optional(),
  /** The same collector by HTTP, without `/v1/traces`. Absent: OTLP_ENDPOINT, with port 4318 in place of 4317. */
  OTLP_HTTP_ENDPOINT: collector.optional(),
  /** Attributes that all spans of this edge have, and the name of the service. */
  OTEL_RESOURCE_ATTRIBUTES: resourceAttributes().optional(),
  OTEL_SERVICE_NAME: z.string().optional(),
  /** Which traces are sent. */
  OTEL_TRACES_SAMPLER: sampler(),
  OTEL_TRACES_SAMPLER_ARG: samplerRatio(),
  /** 0: a request that starts a run is answered when the run has ended (docs/protocol.md 5.24). */
  SCALE_MODE: settingSchemas.SCALE_MODE.default(true),
  RATE_LIMIT_PER_TENANT_RPS: settingSchemas.RATE_LIMIT_PER_TENANT_RPS.default(1000),
  MAX_GLOBAL_QUEUE_DEPTH: settingSchemas.MAX_GLOBAL_QUEUE_DEPTH.default(1_000_000),
  /** Origins from which a browser may call, separated by commas; `*`: any. */
  CORS_ORIGINS: originList().default(["*"]),
});

/** `s3`: the bucket that the settings name. Null: they name none, and the binding ARTIFACTS holds. */
export type Config = z.infer<typeof Config> & { s3: S3Bucket | null };

/** The names of all variables and secrets. */
export const variableNames = Config.keyof().options;

/** The names of the variables whose value the API never shows. */
export const secretNames: ReadonlySet<string> = new Set(Secrets.keyof().options);

const parsed = new WeakMap<object, Config>();

/**
 * The variables, checked. An isolate checks them once and keeps the result.
 * @throws Error that names each wrong variable and its rule, never its value
 */
export function readConfig(env: object): Config {
  const known = parsed.get(env);
  if (known) return known;
  const result = Config.safeParse(trimmed(env));
  if (!result.success) {
    const wrong = result.error.issues.map((issue) => `${issue.path.join(".")}: ${issue.message}`);
    throw new Error(`The Worker's variables are not right. ${wrong.join("; ")}.`);
  }
  const both = bothSet(result.data);
  if (both !== null) throw new Error(`The Worker's variables are not right. ${both}.`);
  const config = { ...result.data, s3: null };
  parsed.set(env, config);
  return config;
}

const Bindings = z.looseObject({});

/** The bindings, the texts among them without white space around them, as programs in containers read their variables (`givenVariables`). */
function trimmed(env: object): Record<string, unknown> {
  const entries = Object.entries(Bindings.parse(env));
  return Object.fromEntries(
    entries.map(([name, value]) => [name, typeof value === "string" ? value.trim() : value]),
  );
}

const Settings = z
  .object({
    SCALE_MODE: settingSchemas.SCALE_MODE,
    RATE_LIMIT_PER_TENANT_RPS: settingSchemas.RATE_LIMIT_PER_TENANT_RPS,
    MAX_GLOBAL_QUEUE_DEPTH: settingSchemas.MAX_GLOBAL_QUEUE_DEPTH,
    CORS_ORIGINS: settingSchemas.CORS_ORIGINS,
    METRICS_TOKEN: settingSchemas.METRICS_TOKEN,
  })
  .partial();

/** The variables of a Config that `withSettings` has made. */
const variables = new WeakMap<Config, Config>();

/** The variables without settings. */
export function variablesOf(config: Config): Config {
  return variables.get(config) ?? config;
}

/** The variables, each replaced by the setting of its name if that is set. @param settings texts that their schemas accept */
export function withSettings(config: Config, settings: OpenSettings): Config {
  if (Object.keys(settings).length === 0) return config;
  const s3 = s3BucketOf(settings);
  const replaced: Config = { ...config, ...valuesOf(settings), ...collectorsOf(settings), s3 };
  variables.set(replaced, config);
  return replaced;
}

/** The values of the settings that are set. */
function valuesOf(settings: OpenSettings): Partial<Config> {
  return Object.fromEntries(Object.entries(Settings.parse(settings)));
}

/** The variables that settings of these names replace. OTLP_ENDPOINT replaces both addresses of the collector, because they are of one collector. */
export function replacedBy(settings: Iterable<string>): ReadonlySet<string> {
  const names = new Set(settings);
  return names.has("OTLP_ENDPOINT") ? names.add("OTLP_HTTP_ENDPOINT") : names;
}

/** The addresses of the collector that settings replace. */
function collectorsOf(settings: OpenSettings): Partial<Pick<Config, "OTLP_ENDPOINT" | "OTLP_HTTP_ENDPOINT">> {
  const { OTLP_ENDPOINT: grpc, OTLP_HTTP_ENDPOINT: http } = settings;
  if (grpc === undefined) return http === undefined ? {} : { OTLP_HTTP_ENDPOINT: http };
  const isOff = settingSchemas.OTLP_ENDPOINT.parse(grpc) === null;
  return { OTLP_ENDPOINT: isOff ? undefined : grpc, OTLP_HTTP_ENDPOINT: isOff ? undefined : http };
}
