import { z } from "zod";
import { DefinitionId } from "../ids.ts";
import { JsonValue } from "../json.ts";

// Existing definitions hold every field of every step type, and null or "" in unused ones. So absent, null and ""
// mean the same: the default.

/** Limits of a definition. They are far above what a person writes, and bound what a program can save. */
export const limits = {
  steps: 200,
  promptChars: 65_536,
  codeChars: 65_536,
  toolTimeoutSeconds: 3_600,
  nameChars: 500,
  descriptionChars: 10_000,
  routes: 50,
  descriptions: 1_000,
  headers: 1_000,
  keys: 100,
  schemaKeys: 200,
  /** JSON of an `output_schema`. */
  schemaChars: 32_768,
  tools: 100,
  delegates: 20,
  /** `max_iterations` of a step. */
  maxIterations: 1_000,
  /** Iterations of a loop step: rounds, or items of its list. */
  loopIterations: 10_000,
  /** Tracks of one parallel or loop step that move at the same time. */
  concurrency: 50,
  /** How many parallel and loop steps may be inside each other. */
  nesting: 4,
  totalTurns: 100_000,
  /** Persons of one group of approvers, and groups to which a question goes after the first. */
  approvers: 50,
  escalations: 5,
  /** The oldest answer of a model that a step may take: 30 days. */
  cacheSeconds: 2_592_000,
  /** The longest wait for a time or for an answer: a year. */
  waitSeconds: 31_536_000,
} as const;

/**
 * A key of state. Keys that begin with `_` belong to the engine; a dot is not part of a key but leads into its
 * value.
 */
export const StateKey = z
  .string()
  .regex(
    /^[A-Za-z_][A-Za-z0-9_-]{0,99}$/,
    "must be 1 to 100 letters, digits, _ or - and begin with a letter or _",
  );

const blankToNull = (value: unknown): unknown => (value === "" || value === undefined ? null : value);
const nullToUndefined = (value: unknown): unknown => value ?? undefined;

/** The fields in which null means something that their JSON schema alone does not say, for the API's document. */
export const nullMeanings = z.registry<{ nullMeans: "absent" | "default" | "end" }>();

/** `schema`; null where the field is absent, null or "". */
export function orNull<Schema extends z.ZodType>(schema: Schema) {
  const nullable = z.preprocess(blankToNull, schema.nullable());
  nullMeanings.add(nullable, { nullMeans: "absent" });
  return nullable.default(null);
}

/** `schema`, which has a default; null means the default too. */
export function orDefault<Schema extends z.ZodType>(schema: Schema) {
  const defaulted = z.preprocess(nullToUndefined, schema);
  nullMeanings.add(defaulted, { nullMeans: "default" });
  return defaulted;
}

/** A table of at most `max` entries, which are counted first: each of 50,000 wrong ones would cost as much as a whole step. */
export function tableOf<Key extends z.core.$ZodRecordKey, Value extends z.ZodType>(
  max: number,
  key: Key,
  value: Value,
) {
  return z.preprocess(
    (table, context) => {
      if (typeof table !== "object" || table === null || Object.keys(table).length <= max) return table;
      context.addIssue({ code: "custom", message: `may have at most ${max} entries`, input: table });
      return z.NEVER;
    },
    z.record(key, value),
  );
}

/** The id of the next step; null: the run ends there. */
const Target = orNull(DefinitionId);

const WrittenTarget = z.preprocess(blankToNull, DefinitionId.nullable());
nullMeanings.add(WrittenTarget, { nullMeans: "end" });
/**
 * A target that may be absent. Null and "" say that the run ends there; absent, nothing says where the run goes, and a run
 * that comes there fails.
 */
export const OptionalTarget = WrittenTarget.optional();

/** A text that may be absent or null: then it is empty. */
export const text = (maxChars: number) => orDefault(z.string().max(maxChars).default(""));
/** A text that must be there and not blank. @param message the error text of a missing one */
export const required = (maxChars: number, message: string) =>
  orDefault(
    z
      .string({
        error: ({ code, input }) => (code === "invalid_type" && input === undefined ? message : undefined),
      })
      .max(maxChars)
      .refine((value) => value.trim() !== "", message),
  );

/** A list of keys of state; absent or null: an empty one. */
export const Keys = orDefault(z.array(StateKey).max(limits.keys).default([]));

/** A list of at most `max` names, none of them empty; absent or null: an empty one. */
export const Strings = (max: number) =>
  orDefault(z.array(z.string().min(1).max(limits.nameChars)).max(max).default([]));

/** Of a definition that all tenants share: tenants see its prompts, code, addresses and public headers too. */
export const Public = orDefault(z.boolean().default(false));

/** A table from a label to the id of the next step. */
export const Targets = orDefault(
  tableOf(limits.routes, z.string().max(limits.nameChars), Target).default({}),
);

/** An object with any JSON values. */
export const JsonTable = z.record(z.string().max(limits.nameChars), JsonValue);
