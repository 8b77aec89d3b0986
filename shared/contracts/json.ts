import { z } from "zod";

/** Any value that JSON can carry. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

/** Nesting that a value may have; deeper ones are refused before a recursive reader meets them. */
const MAX_DEPTH = 64;

/** What keeps a value from being JSON that can be kept, in a word for who sent it; null: nothing. */
function wrongJson(value: unknown, depth = 0): string | null {
  if (depth > MAX_DEPTH) return `must be at most ${MAX_DEPTH} levels deep`;
  if (value === null || typeof value === "string" || typeof value === "boolean") return null;
  // JSON.parse reads 1e999 as Infinity, which JSON cannot carry.
  if (typeof value === "number") return Number.isFinite(value) ? null : "must have no number beyond 1.8e308";
  if (typeof value !== "object") return "must be a JSON value";
  for (const item of Array.isArray(value) ? value : Object.values(value)) {
    const wrong = wrongJson(item, depth + 1);
    if (wrong !== null) return wrong;
  }
  return null;
}

// z.json() describes itself recursively and overflows the stack of the OpenAPI generator; this does not.
/** A JSON value of any shape, at most 64 levels deep. */
export const JsonValue = z
  .unknown()
  .refine((value): value is Json => wrongJson(value) === null, {
    error: ({ input }) => (input === undefined ? "is required" : (wrongJson(input) ?? undefined)),
    // What is not JSON is told of once, whatever else is asked of it.
    abort: true,
  })
  .meta({ id: "Json" });
