import { hostname } from "node:os";
import { z } from "zod";
import { Lane } from "../shared/contracts/run.ts";
import { egressPolicyOf } from "../shared/security/egress-policy.ts";
import { givenVariables } from "../shared/given-variables.ts";
import { DEFAULT_SHARDS } from "../shared/keys.ts";
import { messageOf } from "../shared/log.ts";
import { mailSenderAddress, parseMailServerUrl } from "../shared/contracts/mail-server.ts";
import { collector, metricsToken, secretText } from "../shared/contracts/setting.ts";
import { bothSet, masterKey, masterKeys } from "../shared/security/master-keys.ts";
import {
  exportHeaders,
  resourceAttributes,
  sampler,
  samplerRatio,
} from "../shared/tracing/otel-variables.ts";
import { postgresUrl } from "./clients/postgres-url.ts";
import { RedisEnv } from "./clients/redis-url.ts";

/** A variable that is a whole number from `min` to `max`. */
const whole = (name: string, min: number, max: number, fallback: number) => {
  const sentence = `${name} must be a whole number from ${min} to ${max}`;
  return z.coerce
    .number(sentence)
    .refine((value) => Number.isInteger(value) && value >= min && value <= max, sentence)
    .default(fallback);
};

/** A variable that is an http or https URL. */
const url = (name: string, example: string) =>
  z.url({ protocol: /^https?$/, error: `${name} must be a URL like ${example}` });

/** The schema of SMTP_URL. Unlike a tenant's, it may have options of nodemailer in a query. */
const SmtpUrl = z.string().check(({ value, issues }) => {
  const withoutOptions = URL.parse(value);
  if (withoutOptions !== null) withoutOptions.search = "";
  const parsed = parseMailServerUrl(withoutOptions?.href ?? value);
  if ("error" in parsed) issues.push({ code: "custom", input: value, message: `SMTP_URL ${parsed.error}` });
});

const COLLECTOR_SENTENCE =
  "OTLP_ENDPOINT must be an http or https URL without user and password, like http://collector:4317";

const Lanes = z
  .string()
  .transform((text) => text.split(",").map((lane) => lane.trim()))
  .pipe(z.array(z.enum(Lane.options, `WORKER_LANES must be names out of ${Lane.options.join(", ")}`)).min(1))
  .default([...Lane.options]);

const STDIO_SENTENCE =
  'MCP_STDIO_ALLOW must be JSON with a command line for each name, like {"files": ["npx", "-y", "some-mcp-server"]}';

const EgressAllow = z
  .string()
  .default("")
  .check(({ value, issues }) => {
    try {
      egressPolicyOf(value);
    } catch (error) {
      issues.push({ code: "custom", input: value, message: `EGRESS_ALLOW: ${messageOf(error)}` });
    }
  });

/** Command lines by their names: `{"files": ["npx", "-y", "@modelcontextprotocol/server-filesystem", "/srv"]}`. */
const StdioCommands = z
  .string()
  .default("{}")
  .transform((text, context): unknown => {
    try {
      return JSON.parse(text);
    } catch {
      context.addIssue({ code: "custom", message: STDIO_SENTENCE });
      return z.NEVER;
    }
  })
  .pipe(z.record(z.string().regex(/^[A-Za-z0-9_-]{1,100}$/), z.array(z.string()).min(1), STDIO_SENTENCE));

/** The levels of SHORT_EVENT_LINES. */
const LINE_FORMATS = { "0": "complete", "1": "short", "2": "coded" } as const;

const Env = RedisEnv.extend({
  SCALE_POSTGRES_URL: postgresUrl("SCALE_POSTGRES_URL").optional(),
  SCALE_POSTGRES_DIRECT_URL: postgresUrl("SCALE_POSTGRES_DIRECT_URL").optional(),
  STATE_URL: url("STATE_URL", "https://edge.example.com").optional(),
  STATE_SECRET: secretText("STATE_SECRET ").optional(),
  S3_ENDPOINT: url("S3_ENDPOINT", "https://account.r2.cloudflarestorage.com").optional(),
  S3_BUCKET: z.string().optional(),
  S3_REGION: z.string().default("auto"),
  S3_ACCESS_KEY_ID: z.string().optional(),
  S3_SECRET_ACCESS_KEY: z.string().optional(),
  WORKER_ID: z
    .string()
    .regex(/^[A-Za-z0-9._-]{1,120}$/, "WORKER_ID must be 1 to 120 letters, digits or . _ -")
    .optional(),
  WORKER_CONCURRENCY: whole("WORKER_CONCURRENCY", 1, 1_000, 10),
  WORKER_HEALTH_PORT: whole("WORKER_HEALTH_PORT", 0, 65_535, 9_000),
  WORKER_LANES: Lanes,
  WORKER_DRAIN_SECONDS: whole("WORKER_DRAIN_SECONDS", 0, 3_600, 30),
  MAX_GLOBAL_QUEUE_DEPTH: whole("MAX_GLOBAL_QUEUE_DEPTH", 1, 1_000_000_000, 1_000_000),
  QUEUE_SHARDS: whole("QUEUE_SHARDS", 1, 256, DEFAULT_SHARDS.queue),
  EVENT_SHARDS: whole("EVENT_SHARDS", 1, 1_024, DEFAULT_SHARDS.event),
  ENABLE_TENANT_ISOLATION: z
    .enum(["0", "1"], "ENABLE_TENANT_ISOLATION must be 0 or 1")
    .default("1")
    .transform((value) => value === "1"),
  SHORT_EVENT_LINES: z
    .enum(["0", "1", "2"], "SHORT_EVENT_LINES must be 0, 1 or 2")
    .default("0")
    .transform((level) => LINE_FORMATS[level]),
  MODEL_TIMEOUT_SECONDS: whole("MODEL_TIMEOUT_SECONDS", 1, 3_600, 180),
  TOOL_TIMEOUT_SECONDS: whole("TOOL_TIMEOUT_SECONDS", 1, 3_600, 30),
  SMTP_URL: SmtpUrl.optional(),
  SMTP_FROM: mailSenderAddress("SMTP_FROM ").optional(),
  MCP_STDIO_ALLOW: StdioCommands,
  METRICS_TOKEN: metricsToken("METRICS_TOKEN ").optional(),
  OTLP_ENDPOINT: z
    .string()
    .refine((text) => collector.safeParse(text).success, COLLECTOR_SENTENCE)
    .optional(),
  OTEL_EXPORTER_OTLP_HEADERS: exportHeaders("OTEL_EXPORTER_OTLP_HEADERS ").optional(),
  OTEL_RESOURCE_ATTRIBUTES: resourceAttributes("OTEL_RESOURCE_ATTRIBUTES ").optional(),
  OTEL_SERVICE_NAME: z.string().optional(),
  OTEL_TRACES_SAMPLER: sampler("OTEL_TRACES_SAMPLER "),
  OTEL_TRACES_SAMPLER_ARG: samplerRatio("OTEL_TRACES_SAMPLER_ARG "),
  /** Whether spans hold what models and tools are sent and say. */
  OTLP_CONTENT: z
    .enum(["on", "off"], "OTLP_CONTENT must be on or off")
    .default("off")
    .transform((value) => value === "on"),
  EGRESS_ALLOW: EgressAllow,
  MASTER_KEY: masterKey("MASTER_KEY ").optional(),
  MASTER_KEYS: masterKeys("MASTER_KEYS ").optional(),
}).check(({ value, issues }) => {
  if (!value.SCALE_POSTGRES_URL && !value.STATE_URL) {
    issues.push({
      code: "custom",
      input: value,
      path: ["SCALE_POSTGRES_URL"],
      message: "SCALE_POSTGRES_URL is not set: write postgres://user:password@host:5432/database",
    });
  }
  if ((value.SMTP_URL === undefined) !== (value.SMTP_FROM === undefined)) {
    issues.push({
      code: "custom",
      input: value,
      path: ["SMTP_FROM"],
      message: "SMTP_URL and SMTP_FROM belong together: set both, or neither",
    });
  }
  const both = bothSet(value);
  if (both !== null) issues.push({ code: "custom", input: value, path: ["MASTER_KEYS"], message: both });
  if (value.STATE_URL && !value.STATE_SECRET) {
    issues.push({
      code: "custom",
      input: value,
      path: ["STATE_SECRET"],
      message: "STATE_URL is set, so STATE_SECRET must be too: the same as the edge's",
    });
  }
});

/** The settings of a worker. `workerId`: WORKER_ID, else a name made of the host and the process. */
export type Config = z.output<typeof Env> & { workerId: string };

/**
 * Reads the environment of a worker.
 * @throws Error with one sentence per line, each naming a variable and what to write instead
 */
export function readConfig(env: Record<string, string | undefined>): Config {
  const parsed = Env.safeParse(givenVariables(env));
  if (!parsed.success) {
    const sentences = new Set(parsed.error.issues.map((issue) => issue.message));
    throw new Error([...sentences].join("\n"));
  }
  const fallback = `worker-${hostname()
    .replaceAll(/[^A-Za-z0-9._-]/g, "-")
    .slice(0, 60)}-${process.pid}`;
  return { ...parsed.data, workerId: parsed.data.WORKER_ID ?? fallback };
}
