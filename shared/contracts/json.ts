import { z } from "zod";

/** Any value that JSON can carry. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

/** Nesting that a value may have; deeper ones are refused before a recursive reader meets them. */
const MAX_DEPTH = 64;

function isJson(value: unknown, depth = 0): value is Json {
  if (depth > MAX_DEPTH) return false;
  if (value === null || typeof value === "string" || typeof value === "boolean") return true;
  if (typeof value === "number") return Number.isFinite(value);
  if (Array.isArray(value)) return value.every((item) => isJson(item, depth + 1));
  if (typeof value !== "object") return false;
  return Object.values(value).every((item) => isJson(item, depth + 1));
}

// z.json() describes itself recursively and overflows the stack of the OpenAPI generator; this does not.
/** A JSON value of any shape, at most 64 levels deep. */
export const JsonValue = z
  .unknown()
  .refine((value): value is Json => isJson(value), "must be a JSON value at most 64 levels deep")
  .meta({ id: "Json" });
