import type { Context, Next } from "hono";
import { z } from "zod";
import { pathText } from "../../shared/errors.ts";
import type { FieldError } from "../../shared/errors.ts";
import { likelyName } from "../../shared/text/nearest-name.ts";
import type { ApiEnv } from "./api.ts";
import { LENIENT, preferenceApplied, prefers } from "./prefer.ts";
import { invalidFields } from "./problem.ts";

/** A name that a request has and its route does not know. `path` leads to it, and `known` are the names at that place. */
export type UnknownName = { path: readonly (string | number)[]; known: readonly string[] };

/** The most unknown names of a request that are reported. */
export const MAX_REPORTED = 5;

/**
 * Serves a request if its route knows all these names. An unknown name is refused, and the error suggests the known name that is
 * spelled most like it.
 * @throws AppError `invalid`, unless the request is lenient: `serveWithout`
 */
export function serveKnown(
  c: Context<ApiEnv>,
  next: Next,
  { unknown, noun }: { unknown: readonly UnknownName[]; noun: "field" | "query parameter" },
): Promise<void> {
  const errorOf = (name: UnknownName) => unknownError(name, `${noun} of this request`, `${noun}s`);
  return serveWithout(c, next, unknown.slice(0, MAX_REPORTED).map(errorOf));
}

/**
 * Serves a request that has nothing its route would ignore. With `Prefer: handling=lenient` (RFC 7240) it is served without what
 * these errors name, and `Preference-Applied` says so.
 * @throws AppError `invalid`
 */
export async function serveWithout(
  c: Context<ApiEnv>,
  next: Next,
  ignored: readonly FieldError[],
): Promise<void> {
  if (ignored.length === 0) return next();
  if (!prefers(c, LENIENT)) throw invalidFields([...ignored]);
  await next();
  // In place: a stream is a finished Response, which takes no header from the context.
  preferenceApplied(c.res.headers, LENIENT);
}

/** @param what what the name is not, as `field of an item`; `all`: the plural of what there is in its place */
export function unknownError({ path, known }: UnknownName, what: string, all = "fields"): FieldError {
  const nearest = likelyName(String(path.at(-1)), known);
  const list = known.length === 0 ? "there is none" : `the ${all} are ${known.join(", ")}`;
  const hint = nearest === null ? list : `did you mean ${nearest}?`;
  return { path: pathText(path), message: `is no ${what}: ${hint}` };
}

/**
 * The fields of a body that its schema does not have, at most five: also those of objects and lists inside of it, which the
 * schema would drop without an error. A value of another type than the schema's is left to the validation.
 * @param accepted names that the body itself may have besides
 */
export function unknownFields(
  schema: z.ZodType,
  body: unknown,
  accepted: readonly string[] = [],
): UnknownName[] {
  const found: UnknownName[] = [];
  for (const name of fieldsOutside(schema, body, [])) {
    if (name.path.length === 1 && accepted.includes(String(name.path[0]))) continue;
    found.push(name);
    if (found.length === MAX_REPORTED) break;
  }
  return found;
}

/** All of them, one at a time: a body may have more than fit into a list. */
function* fieldsOutside(
  schema: unknown,
  value: unknown,
  path: readonly (string | number)[],
): Generator<UnknownName> {
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodNullable || schema instanceof z.ZodDefault) {
    yield* fieldsOutside(schema.unwrap(), value, path);
  } else if (schema instanceof z.ZodArray && Array.isArray(value)) {
    for (const [i, item] of value.entries()) yield* fieldsOutside(schema.element, item, [...path, i]);
  } else if (schema instanceof z.ZodObject && isObject(value)) {
    const known = Object.keys(schema.shape);
    for (const [name, inner] of Object.entries(value)) {
      const at = [...path, name];
      if (known.includes(name)) yield* fieldsOutside(schema.shape[name], inner, at);
      else yield { path: at, known };
    }
  }
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
