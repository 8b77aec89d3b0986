import { createMiddleware } from "hono/factory";
import { randomHex } from "../../../shared/contracts/ids.ts";
import type { ApiEnv } from "../api.ts";

/**
 * Gives each request an id and returns it in `X-Request-Id`. A caller's own id is used when it has up to 100 letters, digits, `.`, `_`
 * and `-`.
 *
 * The header is set in place: `c.header` would copy the finished Response.
 */
export const requestId = createMiddleware<ApiEnv>(async (c, next) => {
  const own = c.req.header("x-request-id");
  c.set("requestId", own && /^[A-Za-z0-9._-]{1,100}$/.test(own) ? own : `req_${randomHex(10)}`);
  await next();
  c.res.headers.set("X-Request-Id", c.get("requestId"));
});
