import { createMiddleware } from "hono/factory";
import type { Context } from "hono";
import { matchedRoutes } from "hono/route";
import { z } from "zod";
import { AppError } from "../../../shared/errors.ts";
import type { Api, ApiEnv } from "../api.ts";
import { invalidFields } from "../problem.ts";
import { serveKnown } from "../unknown-names.ts";
import { bearerKey, principalOf } from "./principal.ts";

/**
 * Refuses a URL of which a part would be ignored, or could not be stored.
 *
 * - Query parameters that the route does not document: a client that writes `tenant` for `tenant_id` must not get the
 *   rows of all tenants. Every route is checked here, also a route without a query. Where a key is the only permission,
 *   a caller without a valid key gets 401 first, whatever the query is.
 * - A parameter that is sent twice, where one value is read: the other would be ignored.
 * - U+0000, which no name can have and no column of Postgres can hold: a path with it names nothing (404), a query with
 *   it is not valid (422). Halves of surrogate pairs have no percent-encoding.
 */
export function knownUrl(api: Api) {
  /** The documented routes by method and path. Read when the first request has a query. */
  let documented: ReadonlyMap<string, DocumentedRoute> | null = null;
  return createMiddleware<ApiEnv>(async (c, next) => {
    if (c.req.url.includes("%00")) refuseControl(new URL(c.req.url));
    if (!c.req.url.includes("?")) return next();
    const route = routeOf(c);
    if (route === null) return next();
    documented ??= documentedRoutes(api);
    const { known, lists, needsKey } = documented.get(route) ?? UNDOCUMENTED;
    const values = c.req.queries();
    const names = Object.keys(values).map((name) => patternOf(name, known));
    const repeated = Object.keys(values).filter((name) => {
      const pattern = patternOf(name, known);
      return known.includes(pattern) && !lists.has(pattern) && (values[name]?.length ?? 0) > 1;
    });
    if (needsKey && (repeated.length > 0 || !names.every((name) => known.includes(name)))) {
      await principalOf(c, bearerKey(c));
    }
    if (repeated.length > 0) throw repeatedNames(repeated);
    return serveKnown(c, next, { names, known, noun: "query parameter" });
  });
}

/**
 * What the API's document says of a route. `known`: the names of its query parameters; `lists`: those that may be sent more than
 * once. `needsKey`: an API key is the only permission that the route accepts.
 */
type DocumentedRoute = { known: readonly string[]; lists: ReadonlySet<string>; needsKey: boolean };
const UNDOCUMENTED: DocumentedRoute = { known: [], lists: new Set(), needsKey: false };

/** The documented name of a parameter: `metadata.*` stands for `metadata.` with anything after the dot. */
function patternOf(name: string, known: readonly string[]): string {
  const pattern = `${name.split(".", 1)[0]}.*`;
  return name.length >= pattern.length && name !== pattern && known.includes(pattern) ? pattern : name;
}

function repeatedNames(names: readonly string[]): AppError {
  const message = "is sent more than once, and one value is read: send it once";
  return invalidFields(names.map((path) => ({ path, message })));
}

/** The key in `documented` of the route that serves this request; null: there is none. Middleware has the method `ALL`. */
function routeOf(c: Context<ApiEnv>): string | null {
  const route = matchedRoutes(c).find(({ method }) => method !== "ALL");
  return route ? `${route.method} ${route.path}` : null;
}

function documentedRoutes(api: Api): Map<string, DocumentedRoute> {
  const documented = new Map<string, DocumentedRoute>();
  for (const definition of api.openAPIRegistry.definitions) {
    if (definition.type !== "route") continue;
    const { method, path, request, security = [] } = definition.route;
    const query = request?.query ?? z.object({});
    if (!(query instanceof z.ZodObject)) throw new Error(`the query of ${path} is no object schema`);
    documented.set(`${method.toUpperCase()} ${path.replaceAll(/\{(\w+)\}/g, ":$1")}`, {
      known: Object.keys(query.shape),
      lists: new Set(Object.entries(query.shape).flatMap(([name, schema]) => (isList(schema) ? [name] : []))),
      needsKey: security.length > 0 && security.every((scheme) => "key" in scheme),
    });
  }
  return documented;
}

/** Whether a parameter's schema takes several values. */
function isList(schema: unknown): boolean {
  return schema instanceof z.ZodType && schema.safeParse(["a", "b"]).success;
}

function refuseControl({ pathname, searchParams }: URL): void {
  if (pathname.includes("%00")) throw new AppError("not_found", "The resource does not exist.");
  const fields = Array.from(searchParams)
    .filter(([name, value]) => (name + value).includes("\0"))
    .map(([path]) => ({ path, message: "must not contain control characters" }));
  if (fields.length > 0) throw invalidFields(fields);
}
