import { z } from "zod";

/** Any value that JSON can hold. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
/** An object with JSON values. */
export type JsonObject = { [key: string]: Json };

/** Whether a value is an object, and neither a list nor null. */
export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** `value` if it is an object, else an empty one. */
export function objectOf(value: Json | undefined): JsonObject {
  return isObject(value) ? value : {};
}

/** `value` if it is a list, else an empty one. */
export function listOf(value: Json | undefined): Json[] {
  return Array.isArray(value) ? value : [];
}

/** A text as it is, any other value as JSON. */
export function textOrJson(value: Json): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** The deepest nesting of a value. Deeper values are refused before recursive code reads them. */
const MAX_DEPTH = 64;

/** Why a value cannot be stored as JSON, as an error text for the client; null: it can. */
function jsonError(value: unknown, depth = 0): string | null {
  if (depth > MAX_DEPTH) return `must be at most ${MAX_DEPTH} levels deep`;
  if (value === null || typeof value === "string" || typeof value === "boolean") return null;
  // JSON.parse reads 1e999 as Infinity, which JSON cannot hold.
  if (typeof value === "number")
    return Number.isFinite(value) ? null : "must not contain a number beyond 1.8e308";
  if (typeof value !== "object") return "must be a JSON value";
  for (const item of Array.isArray(value) ? value : Object.values(value)) {
    const error = jsonError(item, depth + 1);
    if (error !== null) return error;
  }
  return null;
}

// z.json() describes itself recursively and overflows the stack of the OpenAPI generator. This schema does not.
/** A JSON value of any shape, at most 64 levels deep. */
export const JsonValue = z
  .unknown()
  .refine((value): value is Json => jsonError(value) === null, {
    error: ({ input }) => (input === undefined ? "is required" : (jsonError(input) ?? undefined)),
    // One error for a value that is not JSON: later checks do not run on it.
    abort: true,
  })
  .meta({ id: "Json" });

/**
 * A JSON object, each value at most 64 levels deep. A record schema would drop a key with the name `__proto__`, and take
 * twice the time for an object with many keys.
 */
export const JsonRecord = z
  .unknown()
  .refine(
    (value): value is JsonObject => typeof value === "object" && value !== null && !Array.isArray(value),
    {
      error: ({ input }) => (input === undefined ? "is required" : "must be an object"),
      abort: true,
    },
  )
  .superRefine((object, context) => {
    for (const key of Object.keys(object)) {
      const message = jsonError(object[key]);
      if (message !== null) context.addIssue({ code: "custom", path: [key], message });
    }
  })
  .meta({ id: "JsonObject", type: "object", additionalProperties: {} });

/** A JSON text whose value a schema reads, such as a column of a row. */
export const jsonText = <Schema extends z.ZodType>(schema: Schema) =>
  z
    .string()
    .transform((text) => JSON.parse(text))
    .pipe(schema);

/** Whether a schema is one of these two, with whatever was refined: the values inside are the client's, of any shape. */
export function isJsonSchema(schema: z.ZodType): boolean {
  for (let of: z.core.$ZodType | undefined = schema; of !== undefined; of = of._zod.parent)
    if (of === JsonValue || of === JsonRecord) return true;
  return false;
}
