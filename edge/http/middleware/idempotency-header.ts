import { createMiddleware } from "hono/factory";
import type { ApiEnv } from "../api.ts";
import { invalidFields } from "../problem.ts";

/** Names under which clients of other APIs send the key. */
const MISSPELLED = ["X-Idempotency-Key", "Idempotence-Key", "IdempotencyKey"];

/**
 * Refuses a request whose Idempotency-Key has another name: it would be ignored, and a repetition would start a second run.
 * @throws AppError `invalid` that names the header
 */
export const idempotencyHeader = createMiddleware<ApiEnv>(async (c, next) => {
  const path = MISSPELLED.find((name) => c.req.header(name) !== undefined);
  if (path !== undefined) throw invalidFields([{ path, message: "is not read: send it as Idempotency-Key" }]);
  await next();
});
