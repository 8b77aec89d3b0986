import { z } from "zod";
import { DefinitionId } from "../ids.ts";
import { JsonValue } from "../json.ts";

// Definitions of the original carry every field of every type, unused ones as null or "". So absent, null and ""
// mean the same here: the default.

/** Limits of a definition: what a person writes stays far below them, what a program floods does not pass. */
export const limits = {
  steps: 200,
  promptChars: 65_536,
  codeChars: 65_536,
  nameChars: 500,
  descriptionChars: 10_000,
  routes: 50,
  keys: 100,
  schemaKeys: 200,
  tools: 100,
  iterations: 1_000,
  totalTurns: 10_000,
} as const;

/** A key of state. `_` at its beginning is the engine's own, dots lead into a value. */
export const StateKey = z
  .string()
  .regex(
    /^[A-Za-z_][A-Za-z0-9_-]{0,99}$/,
    "must be 1 to 100 letters, digits, _ or -, beginning with a letter",
  );

const blankToNull = (value: unknown): unknown => (value === "" || value === undefined ? null : value);
const nullToUndefined = (value: unknown): unknown => value ?? undefined;

/** `schema`, or null where the field is absent, null or "". */
export function orNull<Schema extends z.ZodType>(schema: Schema) {
  return z.preprocess(blankToNull, schema.nullable()).default(null);
}

/** `schema` (one with a default), for which null means the default too. */
export function orDefault<Schema extends z.ZodType>(schema: Schema) {
  return z.preprocess(nullToUndefined, schema);
}

/** The step that follows, or null: the run ends. */
export const Target = orNull(DefinitionId);

export const text = (maxChars: number) => orDefault(z.string().max(maxChars).default(""));
export const required = (maxChars: number, what: string) =>
  orDefault(
    z
      .string({ error: what })
      .max(maxChars)
      .refine((value) => value.trim() !== "", what),
  );

export const Keys = orDefault(z.array(StateKey).max(limits.keys).default([]));

export const Strings = (max: number) =>
  orDefault(z.array(z.string().min(1).max(limits.nameChars)).max(max).default([]));

/** A table from a label to the step it leads to. */
export const Targets = orDefault(
  z
    .record(z.string().max(limits.nameChars), Target)
    .refine(
      (table) => Object.keys(table).length <= limits.routes,
      `may have at most ${limits.routes} entries`,
    )
    .default({}),
);

export const JsonTable = z.record(z.string().max(limits.nameChars), JsonValue);
