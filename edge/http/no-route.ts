/** What a request gets that no route takes. */
import type { Context } from "hono";
import { AppError } from "../../shared/errors.ts";
import type { Api, ApiEnv } from "./api.ts";
import { problemResponse } from "./problem.ts";

/** A static file; null: there is none. The platform serves it before it calls this Worker, so this is for plain workerd. */
export async function assetOf({ env, req }: Context<ApiEnv>): Promise<Response | null> {
  if (env.ASSETS === undefined || !/^(GET|HEAD)$/.test(req.method)) return null;
  const response = await env.ASSETS.fetch(req.raw);
  // The headers of a fetched response are immutable, those of a copy are not.
  return response.status === 404 ? null : new Response(response.body, response);
}

const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/**
 * The methods of a path. A path that a route has word for word has no methods of routes whose parameters it matches too:
 * `/orchestrations/runs` is no orchestration.
 */
function methodsOf(app: Api, path: string): string[] {
  const routes = METHODS.flatMap((method) => app.router.match(method, path)[0].map(([[, route]]) => route));
  const own = routes.filter((route) => route.path === path);
  const served = new Set((own.length > 0 ? own : routes).map(({ method }) => method));
  return METHODS.filter((method) => served.has(method));
}

/** 405 with the path's methods in `Allow` (RFC 9110, 15.5.6) when the path has another method; else 404. */
export function noRoute(app: Api, c: Context<ApiEnv>): Response {
  const methods = methodsOf(app, c.req.path);
  if (methods.length === 0) {
    const why = c.req.path.includes("//") ? "it has // where one slash belongs" : "see /docs";
    return problemResponse(new AppError("not_found", `There is no such path: ${why}.`), c.get("requestId"));
  }
  const error = new AppError("method_not_allowed", `This path takes ${methods.join(", ")}.`);
  const response = problemResponse(error, c.get("requestId"));
  // A route for GET also serves HEAD.
  const allowed = methods.flatMap((method) => (method === "GET" ? ["GET", "HEAD"] : [method]));
  response.headers.set("allow", allowed.join(", "));
  return response;
}
