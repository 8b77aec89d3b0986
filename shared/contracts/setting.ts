import { z } from "zod";
import { MASK } from "./definition/tool-secrets.ts";
import { storedOrigins } from "./origin.ts";

/** The schema of a variable that is a whole number. */
export const wholeNumber = (low: number, high: number) => {
  const sentence = `must be a whole number from ${low} to ${high}`;
  return z.coerce
    .number(sentence)
    .refine((value) => Number.isInteger(value) && value >= low && value <= high, sentence);
};

/** The schema of a variable that is on (1) or off (0). */
export const onOff = z.enum(["0", "1"], "must be 0 or 1").transform((value) => value === "1");

/** The schema of a variable that is a secret. @param name begins the error text */
export const secretText = (name = "") =>
  z
    .string()
    .min(16, `${name}must be at least 16 characters long`)
    .max(1_000, `${name}must be at most 1000 characters long`);

/** The schema of METRICS_TOKEN. @param name begins the error text */
export const metricsToken = (name = "") =>
  secretText(name).regex(
    /^[\x21-\x7e]*$/,
    `${name}must be visible ASCII characters, without spaces: it is sent in a header`,
  );

const COLLECTOR_RULE = "must be an http or https URL without user and password";

/** The schema of the address of a collector of traces. */
export const collector = z.string().max(2_000).refine(isCollector, COLLECTOR_RULE);

/** The value of OTLP_ENDPOINT with which nothing is traced, whatever the variables say. */
const TRACING_OFF = "off";

/** A collector, or null: nothing is traced. */
const collectorOrOff = z
  .string()
  .max(2_000)
  .refine((text) => text === TRACING_OFF || isCollector(text), `${COLLECTOR_RULE}, or ${TRACING_OFF}`)
  .transform((text) => (text === TRACING_OFF ? null : text));

function isCollector(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, username, password } = new URL(text);
  return /^https?:$/.test(protocol) && username === "" && password === "";
}

/** The schema of one of the keys of an object store. */
const s3Key = z
  .string()
  .regex(/^[\x21-\x7e]{1,500}$/, "must be 1 to 500 visible ASCII characters, without spaces")
  .refine((text) => text !== MASK, "is the mask that stands for the value, and not the value itself");

/**
 * The variables that operators may also set while the system runs, as text: a setting has precedence over the variable of the
 * same name (docs/protocol.md 5.24). Edges read them every few seconds; workers get those of WORKER_SETTINGS with each reply to a beat.
 * The settings of the object store hold together or not at all (docs/protocol.md 7.19).
 */
export const settingSchemas = {
  SCALE_MODE: onOff,
  RATE_LIMIT_PER_TENANT_RPS: wholeNumber(1, 1_000_000_000),
  MAX_GLOBAL_QUEUE_DEPTH: wholeNumber(1, 1_000_000_000),
  CORS_ORIGINS: storedOrigins,
  METRICS_TOKEN: metricsToken(),
  OTLP_ENDPOINT: collectorOrOff,
  OTLP_HTTP_ENDPOINT: collector,
  S3_ENDPOINT: z.url({ protocol: /^https?$/, error: "must be an http or https URL" }).max(2_000),
  S3_BUCKET: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$/, "must be a name of 2 to 255 letters, digits, . _ and -"),
  S3_REGION: z.string().regex(/^[a-z0-9-]{1,64}$/, "must be the name of a region, such as eu-central-1"),
  S3_ACCESS_KEY_ID: s3Key,
  S3_SECRET_ACCESS_KEY: s3Key,
};
export type SettingName = keyof typeof settingSchemas;

/** The settings of the object store, which hold together. */
export const S3_SETTINGS = [
  "S3_ENDPOINT",
  "S3_BUCKET",
  "S3_REGION",
  "S3_ACCESS_KEY_ID",
  "S3_SECRET_ACCESS_KEY",
] as const satisfies readonly SettingName[];

/** The name of a setting. */
export const SettingName = z.enum([
  "SCALE_MODE",
  "RATE_LIMIT_PER_TENANT_RPS",
  "MAX_GLOBAL_QUEUE_DEPTH",
  "CORS_ORIGINS",
  "METRICS_TOKEN",
  "OTLP_ENDPOINT",
  "OTLP_HTTP_ENDPOINT",
  ...S3_SETTINGS,
] as const satisfies SettingName[]);

/** The settings that workers use too. */
export const WORKER_SETTINGS = [
  "MAX_GLOBAL_QUEUE_DEPTH",
  "METRICS_TOKEN",
  "OTLP_ENDPOINT",
  ...S3_SETTINGS,
] as const satisfies readonly SettingName[];

/** The settings that are stored sealed, and never shown. */
export const SECRET_SETTINGS: ReadonlySet<string> = new Set<SettingName>([
  "METRICS_TOKEN",
  "S3_ACCESS_KEY_ID",
  "S3_SECRET_ACCESS_KEY",
]);

/** A setting as it is stored. `value`: the variable's text; a secret's is sealed for `settingPlace`. */
export const StoredSetting = z.object({ name: z.string(), value: z.string() });
export type StoredSetting = z.infer<typeof StoredSetting>;

/** The texts of settings by name, opened. */
export type OpenSettings = Partial<Record<SettingName, string>>;

/** The place for which a secret setting is sealed. */
export function settingPlace(name: string): string {
  return `settings/${name}`;
}
