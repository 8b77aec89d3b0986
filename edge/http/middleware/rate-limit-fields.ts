import { createMiddleware } from "hono/factory";
import type { ApiEnv } from "../api.ts";
import { setRateLimit } from "../rate-limit.ts";

/** States what the caller's tenant has left of its limits, in the response to a POST that succeeded. A refusal states its own limits. */
export const rateLimitFields = createMiddleware<ApiEnv>(async (c, next) => {
  await next();
  const quota = c.get("quota");
  if (quota !== undefined && c.req.method === "POST" && c.res.ok) setRateLimit(c.res.headers, quota);
});
