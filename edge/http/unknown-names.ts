import type { Context, Next } from "hono";
import type { AppError } from "../../shared/errors.ts";
import { likelyName } from "../../shared/nearest-name.ts";
import type { ApiEnv } from "./api.ts";
import { LENIENT, preferenceApplied, prefers } from "./prefer.ts";
import { invalidFields } from "./problem.ts";

/**
 * Serves a request if its route knows all these names. An unknown name is refused, and the error suggests the known name that is
 * spelled most like it. With `Prefer: handling=lenient` (RFC 7240) it is ignored, and `Preference-Applied` says so.
 * @throws AppError `invalid`
 */
export async function serveKnown(
  c: Context<ApiEnv>,
  next: Next,
  {
    names,
    known,
    noun,
  }: { names: readonly string[]; known: readonly string[]; noun: "field" | "query parameter" },
): Promise<void> {
  const unknown = names.filter((name) => !known.includes(name)).slice(0, 5);
  if (unknown.length === 0) return next();
  if (!prefers(c, LENIENT)) throw unknownNames(unknown, known, noun);
  await next();
  // In place: a stream is a finished Response, which takes no header from the context.
  preferenceApplied(c.res.headers, LENIENT);
}

function unknownNames(unknown: readonly string[], known: readonly string[], noun: string): AppError {
  const fields = unknown.map((path) => {
    const nearest = likelyName(path, known);
    const all = known.length === 0 ? "there is none" : `the ${noun}s are ${known.join(", ")}`;
    const hint = nearest === null ? all : `did you mean ${nearest}?`;
    return { path, message: `is no ${noun} of this request: ${hint}` };
  });
  return invalidFields(fields);
}
