import { createMiddleware } from "hono/factory";
import { AppError } from "../../../shared/errors.ts";
import type { ApiEnv } from "../api.ts";

/**
 * Refuses a URL that holds U+0000, which no name can have and no column of Postgres can hold: a path with it names
 * nothing (404), a query with it is not valid (422). Halves of surrogate pairs have no percent-encoding.
 */
export const plainUrl = createMiddleware<ApiEnv>(async (c, next) => {
  if (c.req.url.includes("%00")) refuse(new URL(c.req.url));
  await next();
});

function refuse({ pathname, searchParams }: URL): void {
  if (pathname.includes("%00")) throw new AppError("not_found", "The resource does not exist.");
  const fields = Array.from(searchParams)
    .filter(([name, value]) => (name + value).includes("\0"))
    .map(([path]) => ({ path, message: "must not contain control characters" }));
  if (fields.length === 0) return;
  throw new AppError("invalid", `Not valid: ${fields.map(({ path }) => path).join(", ")}.`, { fields });
}
