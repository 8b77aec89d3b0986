import { createMiddleware } from "hono/factory";
import type { Context } from "hono";
import type { ApiEnv } from "./api.ts";

/** A body up to this size is dropped. Of a larger one the connection is closed while the client still sends. */
const MAX_DROPPED_BYTES = 32 * 1024 * 1024;

/**
 * Reads the body of a refused request without keeping it, unless something has begun to read it. Most clients read no response
 * before they have sent their body, and would see a broken connection in its place.
 */
export async function dropBody(c: Context<ApiEnv>): Promise<void> {
  const { body } = c.req.raw;
  const length = Number(c.req.header("content-length") ?? Infinity);
  if (body === null || body.locked || c.req.raw.bodyUsed || length > MAX_DROPPED_BYTES) return;
  try {
    await body.pipeTo(new WritableStream());
  } catch {
    // The client has left, so nobody gets the response.
  }
}

/** Drops the body of a request that the route refuses, where the route reads the body itself. */
export const dropRefusedBody = createMiddleware<ApiEnv>(async (c, next) => {
  await next();
  if (c.error !== undefined) await dropBody(c);
});
