import { createMiddleware } from "hono/factory";
import type { ApiEnv } from "../api.ts";
import { setRateLimit } from "../rate-limit-headers.ts";

/**
 * Adds what the caller's tenant has left of its limits to the response of a POST that succeeded. A refused request gets its fields
 * from `problemResponse`.
 */
export const rateLimitFields = createMiddleware<ApiEnv>(async (c, next) => {
  await next();
  const quota = c.get("quota");
  if (quota !== undefined && c.req.method === "POST" && c.res.ok) setRateLimit(c.res.headers, quota);
});
