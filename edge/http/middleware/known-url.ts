import { createMiddleware } from "hono/factory";
import type { Context } from "hono";
import { AppError } from "../../../shared/errors.ts";
import type { FieldError } from "../../../shared/errors.ts";
import type { ApiEnv } from "../api.ts";
import type { DocumentedRoute } from "../documented-routes.ts";
import { invalidFields } from "../problem.ts";
import { MAX_REPORTED, serveKnown } from "../unknown-names.ts";
import { bearerKey, principalOf } from "./principal.ts";

/**
 * Refuses a URL of which a part would be ignored, or could not be stored.
 *
 * - Query parameters that the route does not document: a client that writes `tenant` for `tenant_id` must not get the
 *   rows of all tenants. Every route is checked here, also a route without a query. Where a key is the only permission,
 *   a caller without a valid key gets 401 first, whatever the query is.
 * - A parameter that is sent twice, where one value is read: the other would be ignored.
 * - A parameter that is no UTF-8 in percent-encoding: it would be read as other characters.
 * - U+0000, which no name can have and no column of Postgres can hold: a path with it names nothing (404), a query with
 *   it is not valid (422). Halves of surrogate pairs have no percent-encoding.
 */
export function knownUrl(routeOf: (c: Context<ApiEnv>) => DocumentedRoute | null) {
  return createMiddleware<ApiEnv>(async (c, next) => {
    if (c.req.url.includes("%00")) refuseControl(new URL(c.req.url));
    if (!c.req.url.includes("?")) return next();
    const route = routeOf(c);
    if (route === null) return next();
    const { known, lists, joined, needsKey } = route;
    const values = c.req.queries();
    const unknown = Object.keys(values)
      .filter((name) => !known.includes(patternOf(name, known)))
      .map((name) => ({ path: [name], known }));
    const repeated = Object.keys(values).filter((name) => {
      const pattern = patternOf(name, known);
      return known.includes(pattern) && !lists.has(pattern) && (values[name]?.length ?? 0) > 1;
    });
    const malformed = malformedParameters(c.req.url);
    if (needsKey && repeated.length + unknown.length + malformed.length > 0) {
      await principalOf(c, bearerKey(c));
    }
    if (malformed.length > 0) throw invalidFields(malformed);
    if (repeated.length > 0) throw repeatedNames(repeated, joined);
    return serveKnown(c, next, { unknown, noun: "query parameter" });
  });
}

/** The documented name of a parameter: `metadata.*` stands for `metadata.` with anything after the dot. */
function patternOf(name: string, known: readonly string[]): string {
  const pattern = `${name.split(".", 1)[0]}.*`;
  return name.length >= pattern.length && name !== pattern && known.includes(pattern) ? pattern : name;
}

function repeatedNames(names: readonly string[], joined: ReadonlySet<string>): AppError {
  const once = "is sent more than once, and one value is read: send it once";
  return invalidFields(
    names.map((path) => ({
      path,
      message: joined.has(path) ? `${once}, all its values in it, separated by commas` : once,
    })),
  );
}

function malformedParameters(url: string): FieldError[] {
  if (!url.includes("%") || isUtf8(url)) return [];
  return url
    .slice(url.indexOf("?") + 1)
    .split("&")
    .filter((parameter) => !isUtf8(parameter))
    .slice(0, MAX_REPORTED)
    .map((parameter) => ({
      path: parameter.replace(/=.*/s, ""),
      message: "must be UTF-8 in percent-encoding: é is %C3%A9, and % is %25",
    }));
}

function isUtf8(encoded: string): boolean {
  try {
    decodeURIComponent(encoded);
    return true;
  } catch {
    return false;
  }
}

function refuseControl({ pathname, searchParams }: URL): void {
  if (pathname.includes("%00")) throw new AppError("not_found", "The resource does not exist.");
  const fields = Array.from(searchParams)
    .filter(([name, value]) => (name + value).includes("\0"))
    .map(([path]) => ({ path, message: "must not contain control characters" }));
  if (fields.length > 0) throw invalidFields(fields);
}
