import type { Context } from "hono";
import { AppError } from "../shared/errors.ts";
import { newApi } from "./http/api.ts";
import type { Api, ApiEnv } from "./http/api.ts";
import { crossOrigin } from "./http/middleware/cross-origin.ts";
import { limitBody } from "./http/middleware/json-body.ts";
import { knownUrl } from "./http/middleware/known-url.ts";
import { requestId } from "./http/middleware/request-id.ts";
import { signedHead } from "./http/middleware/signed-head.ts";
import { problemResponse } from "./http/problem.ts";
import { routes } from "./routes/index.ts";
import type { ServicesOf } from "./services.ts";

/** The HTTP API. `servicesOf` opens the services of one request. */
export function createApp(servicesOf: ServicesOf): Api {
  const app = newApi();
  app.use(requestId);
  app.use(async (c, next) => {
    c.set(
      "services",
      servicesOf(c.env, (work) => c.executionCtx.waitUntil(work)),
    );
    await next();
  });
  app.use(crossOrigin);
  app.use(knownUrl(app));
  app.use("/api/*", limitBody(1));
  app.use("/scale/*", limitBody(1));
  app.use("/internal/*", signedHead);
  // A worker's flush has up to 4 MiB, which JSON escapes may double.
  app.use("/internal/*", limitBody(16));
  for (const add of routes) add(app);
  app.notFound((c) => noRoute(app, c));
  app.onError((error, c) => problemResponse(error, c.get("requestId") ?? ""));
  return app;
}

const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/** 405 with the path's methods in `Allow` (RFC 9110, 15.5.6) when the path has another method; else 404. */
function noRoute(app: Api, c: Context<ApiEnv>): Response {
  const methods = METHODS.filter((method) =>
    app.router.match(method, c.req.path)[0].some(([[, route]]) => route.method === method),
  );
  if (methods.length === 0) {
    return problemResponse(new AppError("not_found", "There is no such path."), c.get("requestId"));
  }
  const error = new AppError("method_not_allowed", `This path takes ${methods.join(", ")}.`);
  const response = problemResponse(error, c.get("requestId"));
  // A route for GET also serves HEAD.
  const allowed = methods.flatMap((method) => (method === "GET" ? ["GET", "HEAD"] : [method]));
  response.headers.set("allow", allowed.join(", "));
  return response;
}
