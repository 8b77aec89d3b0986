import { createMiddleware } from "hono/factory";
import { randomHex } from "../../../shared/contracts/ids.ts";
import type { ApiEnv } from "../api.ts";

/**
 * Gives each request an id and says it in the answer; a caller's own id is kept when it is a plain one.
 *
 * The header is set in place: `c.header` makes another Response of the finished one.
 */
export const requestId = createMiddleware<ApiEnv>(async (c, next) => {
  const given = c.req.header("x-request-id");
  c.set("requestId", given && /^[A-Za-z0-9._-]{1,100}$/.test(given) ? given : `req_${randomHex(10)}`);
  await next();
  c.res.headers.set("X-Request-Id", c.get("requestId"));
});
