import { bodyLimit } from "hono/body-limit";
import { createMiddleware } from "hono/factory";
import { AppError } from "../../../shared/errors.ts";
import type { ApiEnv } from "../api.ts";
import { dropBody } from "../drop-body.ts";

const MIB = 1024 * 1024;

/**
 * Refuses bodies over `mib` MiB, also bodies without a Content-Length. `others`: paths with another limit; null: the route
 * limits its body itself.
 */
export function limitBody(mib: number, others: Readonly<Record<string, number | null>> = {}) {
  const limits = new Map(
    Object.entries(others).map(([path, most]) => [path, most === null ? null : limitTo(most)]),
  );
  const usual = limitTo(mib);
  return createMiddleware<ApiEnv>((c, next) => {
    const limit = limits.get(c.req.path);
    return limit === null ? next() : (limit ?? usual)(c, next);
  });
}

function limitTo(mib: number) {
  const tooLarge = () => {
    throw new AppError("too_large", `A body may have at most ${mib} MiB.`);
  };
  const counted = bodyLimit({ maxSize: mib * MIB, onError: tooLarge });
  return createMiddleware<ApiEnv>(async (c, next) => {
    const length = c.req.header("content-length");
    // A body with a Content-Length is not counted: counting turns it into a stream, which costs 12 us.
    if (length === undefined || c.req.header("transfer-encoding") !== undefined) return counted(c, next);
    if (Number(length) > mib * MIB) {
      // A request without a key must cost nothing.
      if (c.req.header("authorization") !== undefined) await dropBody(c);
      tooLarge();
    }
    await next();
  });
}
