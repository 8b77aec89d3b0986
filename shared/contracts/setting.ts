import { z } from "zod";

/** The schema of a variable that is a whole number. */
export const wholeNumber = (low: number, high: number) => {
  const sentence = `must be a whole number from ${low} to ${high}`;
  return z.coerce
    .number(sentence)
    .refine((value) => Number.isInteger(value) && value >= low && value <= high, sentence);
};

/** The schema of a variable that is on (1) or off (0). */
export const onOff = z.enum(["0", "1"], "must be 0 or 1").transform((value) => value === "1");

/** The schema of a variable that is a secret. */
export const secretText = z.string().min(16, "must be at least 16 characters long").max(1_000);

/**
 * The variables that operators may also set while the system runs, as text: a setting has precedence over the variable of the
 * same name (docs/protocol.md 5.24). Edges read them every few seconds; workers get those of WORKER_SETTINGS with each reply to a beat.
 */
export const settingSchemas = {
  SCALE_MODE: onOff,
  RATE_LIMIT_PER_TENANT_RPS: wholeNumber(1, 1_000_000_000),
  MAX_GLOBAL_QUEUE_DEPTH: wholeNumber(1, 1_000_000_000),
  CORS_ORIGINS: z
    .string()
    .max(10_000)
    .transform((list) => list.split(",").map((origin) => origin.trim())),
  METRICS_TOKEN: secretText,
};
export type SettingName = keyof typeof settingSchemas;

/** The name of a setting. */
export const SettingName = z.enum([
  "SCALE_MODE",
  "RATE_LIMIT_PER_TENANT_RPS",
  "MAX_GLOBAL_QUEUE_DEPTH",
  "CORS_ORIGINS",
  "METRICS_TOKEN",
] as const satisfies SettingName[]);

/** The settings that workers use too. */
export const WORKER_SETTINGS = [
  "MAX_GLOBAL_QUEUE_DEPTH",
  "METRICS_TOKEN",
] as const satisfies readonly SettingName[];

/** The settings that are stored sealed, and never shown. */
export const SECRET_SETTINGS: ReadonlySet<string> = new Set<SettingName>(["METRICS_TOKEN"]);

/** A setting as it is stored. `value`: the variable's text; a secret's is sealed for `settingPlace`. */
export const StoredSetting = z.object({ name: z.string(), value: z.string() });
export type StoredSetting = z.infer<typeof StoredSetting>;

/** The place for which a secret setting is sealed. */
export function settingPlace(name: string): string {
  return `settings/${name}`;
}
