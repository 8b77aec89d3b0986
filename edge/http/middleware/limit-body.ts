import { createMiddleware } from "hono/factory";
import type { Context } from "hono";
import { AppError } from "../../../shared/errors.ts";
import type { ApiEnv } from "../api.ts";
import type { DocumentedRoute } from "../documented-routes.ts";
import { takeBody } from "../read-body.ts";
import { bearerKey, principalOf } from "./principal.ts";

const MIB = 1024 * 1024;

type RouteOf = (c: Context<ApiEnv>) => Pick<DocumentedRoute, "needsKey"> | null;

/**
 * Refuses bodies over `mib` MiB, also bodies without a Content-Length. `routeOf` finds the route of a request; `others`: paths with
 * another limit; null: the route limits its body itself.
 *
 * To count a body is to read it, and a client may take forever to send it. So it is read only for a route, and of a caller with a valid
 * key where the route needs one.
 */
export function limitBody(
  mib: number,
  routeOf: RouteOf,
  others: Readonly<Record<string, number | null>> = {},
) {
  const limits = new Map(
    Object.entries(others).map(([path, most]) => [path, most === null ? null : limitTo(most, routeOf)]),
  );
  const usual = limitTo(mib, routeOf);
  return createMiddleware<ApiEnv>((c, next) => {
    const limit = limits.get(c.req.path);
    return limit === null ? next() : (limit ?? usual)(c, next);
  });
}

function limitTo(mib: number, routeOf: RouteOf) {
  const maxBytes = mib * MIB;
  return createMiddleware<ApiEnv>(async (c, next) => {
    const length = c.req.header("content-length");
    // A body with a Content-Length is not counted: counting turns it into a stream, which costs 12 us.
    const isCounted = length === undefined || c.req.header("transfer-encoding") !== undefined;
    if (isCounted && c.req.raw.body !== null) {
      const route = routeOf(c);
      if (route === null) return next();
      if (route.needsKey) await principalOf(c, bearerKey(c));
    }
    const isWithin = isCounted ? await takeBody(c, maxBytes) : Number(length) <= maxBytes;
    if (!isWithin) throw new AppError("too_large", `A body may have at most ${mib} MiB.`);
    await next();
  });
}
