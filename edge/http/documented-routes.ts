import type { Context } from "hono";
import { matchedRoutes } from "hono/route";
import { z } from "zod";
import type { Api, ApiEnv } from "./api.ts";

/**
 * What the API's document says of a route.
 *
 * `known`: the names of its query parameters. `lists`: the query parameters that may be sent more than once. `joined`: those that may have
 * several values, separated by commas. `headers`: the names of the documented headers, in lower case. `needsKey`: the route accepts an API key and nothing else. `takesBody`: the route reads a body.
 */
export type DocumentedRoute = {
  known: readonly string[];
  lists: ReadonlySet<string>;
  joined: ReadonlySet<string>;
  headers: ReadonlySet<string>;
  needsKey: boolean;
  takesBody: boolean;
};
const UNDOCUMENTED: DocumentedRoute = {
  known: [],
  lists: new Set(),
  joined: new Set(),
  headers: new Set(),
  needsKey: false,
  takesBody: true,
};

/** Finds the route that serves a request; null: there is none. The document is read at the first request, when it has all routes. */
export function documentedRouteOf(api: Api): (c: Context<ApiEnv>) => DocumentedRoute | null {
  let documented: ReadonlyMap<string, DocumentedRoute> | null = null;
  return (c) => {
    // Middleware has the method `ALL`.
    const route = matchedRoutes(c).find(({ method }) => method !== "ALL");
    if (route === undefined) return null;
    documented ??= documentedRoutes(api);
    return documented.get(`${route.method} ${route.path}`) ?? UNDOCUMENTED;
  };
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
      lists: namesOf(query.shape, isList),
      joined: namesOf(
        query.shape,
        ({ description }) => description?.includes("separated by commas") === true,
      ),
      headers: new Set(request?.headers instanceof z.ZodObject ? Object.keys(request.headers.shape) : []),
      needsKey: security.length > 0 && security.every((scheme) => "key" in scheme),
      takesBody: request?.body !== undefined,
    });
  }
  return documented;
}

/** The names of the parameters whose schema is such a one. */
function namesOf(shape: Record<string, unknown>, isSuch: (schema: z.ZodType) => boolean): Set<string> {
  const entries = Object.entries(shape);
  return new Set(
    entries.flatMap(([name, schema]) => (schema instanceof z.ZodType && isSuch(schema) ? [name] : [])),
  );
}

/** Whether a parameter's schema takes several values. */
function isList(schema: z.ZodType): boolean {
  return schema.safeParse(["a", "b"]).success;
}
