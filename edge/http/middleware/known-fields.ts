import { createMiddleware } from "hono/factory";
import type { z } from "zod";
import { AppError } from "../../../shared/errors.ts";
import { likelyName } from "../../../shared/nearest-name.ts";
import type { ApiEnv } from "../api.ts";
import { LENIENT, preferenceApplied, prefers } from "../prefer.ts";

/**
 * Refuses fields that the request does not have: a client that writes `tenant` for `tenant_id` must not act for another
 * tenant. `Prefer: handling=lenient` (RFC 7240) ignores them, and `Preference-Applied` says so.
 *
 * A body that is no JSON object is left to the validation that follows.
 * @param notYet fields that have an error of their own
 */
export function knownFields(schema: z.ZodObject, notYet: readonly string[] = []) {
  const known = [...Object.keys(schema.shape), ...notYet];
  return createMiddleware<ApiEnv>(async (c, next) => {
    const body: unknown = await c.req.json().catch(() => null);
    if (typeof body !== "object" || body === null || Array.isArray(body)) return next();
    const unknown = Object.keys(body).filter((field) => !known.includes(field));
    if (unknown.length === 0) return next();
    if (!prefers(c, LENIENT)) throw unknownFields(unknown, known);
    preferenceApplied(c, LENIENT);
    return next();
  });
}

function unknownFields(unknown: readonly string[], known: readonly string[]): AppError {
  const named = unknown.slice(0, 5);
  const fields = named.map((path) => {
    const nearest = likelyName(path, known);
    const hint = nearest === null ? `the fields are ${known.join(", ")}` : `did you mean ${nearest}?`;
    return { path, message: `is no field of this request: ${hint}` };
  });
  return new AppError("invalid", `Not valid: ${named.join(", ")}.`, { fields });
}
