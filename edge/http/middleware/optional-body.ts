import { createMiddleware } from "hono/factory";
import type { ApiEnv } from "../api.ts";
import { jsonBody } from "./json-body.ts";

/** For routes whose body is optional: a body that is sent must have the Content-Type JSON, as elsewhere. */
export const optionalBody = createMiddleware<ApiEnv>(async (c, next) => {
  const isAbsent = c.req.header("content-type") === undefined && (await c.req.text()) === "";
  if (isAbsent) await next();
  else await jsonBody(c, next);
});
