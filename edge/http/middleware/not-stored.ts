import { createMiddleware } from "hono/factory";
import type { ApiEnv } from "../api.ts";

/**
 * No cache stores a response, unless the route says how it may be cached. A cache that knows requests by their URL alone, such as
 * nginx's `proxy_cache`, would otherwise send one tenant's list to another tenant's key, and an old status to a client that polls.
 */
export const notStored = createMiddleware<ApiEnv>(async (c, next) => {
  await next();
  const { headers } = c.res;
  if (!headers.has("cache-control")) headers.set("Cache-Control", "no-store");
});
