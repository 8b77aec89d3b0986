import { z } from "zod";
import { TenantId } from "../shared/contracts/ids.ts";
import type { NewRun, SubmitResult } from "../shared/contracts/run.ts";
import { egressPolicyOf } from "../shared/security/egress-policy.ts";
import { DEFAULT_SHARDS } from "../shared/keys.ts";
import { messageOf } from "../shared/log.ts";
import type { Row } from "../shared/store/sql.ts";
import { bothSet, masterKey, masterKeys } from "../shared/security/master-keys.ts";

/** The intake of a queue shard, as the stateless part of the edge calls it. */
export type IntakeObject = Rpc.DurableObjectBranded & { submit(runs: NewRun[]): Promise<SubmitResult[]> };

/** The result of a statement; not `ok`: the driver's error, or (with one of our codes) why it was not executed. */
export type StatementReply =
  | { ok: true; rows: Row[]; count: number }
  | { ok: false; name: string; message: string; code: string | null; retryAfterSeconds: number | null };

/** The text of a statement has $1, $2 … in place of its values. `tenant`: whose turn it takes. */
export type StatementCall = { text: string; values: unknown[]; tenant: string };

/** The name of a reply that comes later than those of the same call: `collect` returns it. */
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
  /** Only as much of the namespace as is used: its own type recurses through the rows without end. */
  DATABASE: { getByName(name: string): DatabaseObject };
  /** Absent: the workers have no object store either, and large values are in Postgres. */
  ARTIFACTS?: R2Bucket;
  /** The static files of edge/assets. Absent in tests without a runtime. */
  ASSETS?: Fetcher;
  /** Absent where the platform has no rate limiter. */
  KEY_LOOKUPS?: RateLimit;
};

const count = (low: number, high: number) => {
  const sentence = `must be a whole number from ${low} to ${high}`;
  return z.coerce
    .number(sentence)
    .refine((value) => Number.isInteger(value) && value >= low && value <= high, sentence);
};
const onOff = z.enum(["0", "1"], "must be 0 or 1");
const secret = z.string().min(16, "must be at least 16 characters long");

/** What `wrangler secret put` stores. The API masks all of them. */
const Secrets = z.object({
  UPSTASH_REDIS_REST_TOKEN: z.string().min(1),
  STREAM_TOKEN_SECRET: secret,
  /** Absent: the workers reach Postgres directly, and /internal does not exist. */
  STATE_SECRET: secret.optional(),
  /** A scraper may send it instead of an API key, for the metrics alone. */
  METRICS_TOKEN: secret.optional(),
  /** Absent: requests with a secret to seal are refused. */
  MASTER_KEY: masterKey().optional(),
  /** Several keys, `id:key,id:key`, of which the first seals: in place of MASTER_KEY, to rotate it. */
  MASTER_KEYS: masterKeys().optional(),
});

/** The variables and secrets of the Worker. */
const Config = Secrets.extend({
  UPSTASH_REDIS_REST_URL: z.url("must be the http(s) address of Upstash or of redis-rest"),
  REDIS_URL: z.string().regex(/^rediss?:\/\//, "must begin with redis:// or rediss://"),
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
  QUEUE_SHARDS: count(1, 256).default(DEFAULT_SHARDS.queue),
  EVENT_SHARDS: count(1, 1024).default(DEFAULT_SHARDS.event),
  DEFAULT_TENANT_ID: TenantId.default(TenantId.parse("default")),
  ENABLE_TENANT_ISOLATION: onOff.default("1").transform((value) => value === "1"),
  /** 1: while Redis is unreachable or being rebuilt, Postgres checks the quotas of new runs; 0: new runs are refused. */
  ACCEPT_WHEN_REDIS_DOWN: onOff.default("1").transform((value) => value === "1"),
  /** 0 behind a PgBouncer before 1.21, which loses named statements. Miniflare's Hyperdrive drops `?prepare=false`. */
  PREPARE_STATEMENTS: onOff.default("1").transform((value) => value === "1"),
  RATE_LIMIT_PER_TENANT_RPS: count(1, 1_000_000_000).default(1000),
  MAX_GLOBAL_QUEUE_DEPTH: count(1, 1_000_000_000).default(1_000_000),
  /** Origins from which a browser may call, separated by commas; `*`: any. */
  CORS_ORIGINS: z
    .string()
    .default("*")
    .transform((list) => list.split(",").map((origin) => origin.trim())),
});
export type Config = z.infer<typeof Config>;

/** The names of all variables and secrets. */
export const variableNames = Config.keyof().options;

/** Those of them whose value the API never shows. */
export const secretNames: ReadonlySet<string> = new Set(Secrets.keyof().options);

const parsed = new WeakMap<object, Config>();

/**
 * Reads the variables, once in each isolate.
 * @throws Error that names each wrong variable and its rule, never its value
 */
export function readConfig(env: object): Config {
  const known = parsed.get(env);
  if (known) return known;
  const result = Config.safeParse(env);
  if (!result.success) {
    const wrong = result.error.issues.map((issue) => `${issue.path.join(".")}: ${issue.message}`);
    throw new Error(`The Worker's variables are not right. ${wrong.join("; ")}.`);
  }
  const both = bothSet(result.data);
  if (both !== null) throw new Error(`The Worker's variables are not right. ${both}.`);
  parsed.set(env, result.data);
  return result.data;
}
