import { createMiddleware } from "hono/factory";
import type { ApiEnv } from "../api.ts";
import { invalidFields } from "../problem.ts";

/** Names under which clients of other APIs send the key. */
const MISSPELLED = ["X-Idempotency-Key", "Idempotence-Key", "IdempotencyKey"];

/**
 * Refuses a request that has its idempotency key in a header of another name: the route would ignore that header, and a repetition
 * would start a second run.
 * @throws AppError `invalid` that names the header
 */
export const idempotencyHeader = createMiddleware<ApiEnv>(async (c, next) => {
  const path = MISSPELLED.find((name) => c.req.header(name) !== undefined);
  if (path !== undefined) throw invalidFields([{ path, message: "is not read: send it as Idempotency-Key" }]);
  await next();
});
