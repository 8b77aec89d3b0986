import { createMiddleware } from "hono/factory";
import type { ApiEnv } from "../api.ts";
import { jsonBody } from "./json-body.ts";

/** For routes whose body may be left out: what is sent must call itself JSON, as elsewhere. */
export const optionalBody = createMiddleware<ApiEnv>(async (c, next) => {
  const isAbsent = c.req.header("content-type") === undefined && (await c.req.text()) === "";
  if (isAbsent) await next();
  else await jsonBody(c, next);
});
