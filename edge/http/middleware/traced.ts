import {
  ATTR_HTTP_REQUEST_METHOD,
  ATTR_HTTP_RESPONSE_STATUS_CODE,
} from "@opentelemetry/semantic-conventions";
import { ATTR_HTTP_ROUTE, ATTR_URL_PATH } from "@opentelemetry/semantic-conventions";
import type { Context, Next } from "hono";
import { createMiddleware } from "hono/factory";
import { routePath } from "hono/route";
import { readTraceparent } from "../../../shared/tracing/traceparent.ts";
import { asCurrentSpan } from "../../tracing/current-span.ts";
import { tracingOf } from "../../tracing/edge-tracing.ts";
import type { EdgeTracing } from "../../tracing/edge-tracing.ts";
import type { ApiEnv } from "../api.ts";

/** The paths without a span: a probe says nothing, and a worker has a span for its call to /internal itself. */
const UNTRACED = /^\/(livez$|readyz$|health$|internal\/)/;

/**
 * Makes a span of each request, as a child of the client's `traceparent` if that is valid. The response has the `traceparent` of the
 * span.
 *
 * Without tracing, the runs that the request starts get the client's context, and so does the response: a worker may trace.
 */
export const traced = createMiddleware<ApiEnv>(async (c, next) => {
  const parent = readTraceparent(c.req.header("traceparent"));
  const tracing = UNTRACED.test(c.req.path) ? null : await currentTracing(c);
  if (tracing !== null) return inRequestSpan(c, next, tracing, parent);
  if (parent === null) return next();
  await asCurrentSpan({ tracer: null, traceparent: parent }, next);
  c.res.headers.set("traceparent", parent);
});

async function inRequestSpan(
  c: Context<ApiEnv>,
  next: Next,
  { tracer }: EdgeTracing,
  parent: string | null,
): Promise<void> {
  const { method, path } = c.req;
  const attributes = {
    [ATTR_HTTP_REQUEST_METHOD]: method,
    // Without the query, which may hold a token.
    [ATTR_URL_PATH]: path,
    "synapse.request_id": c.get("requestId"),
  };
  const span = tracer.start(method, { kind: "server", parent, attributes });
  try {
    await asCurrentSpan({ tracer, traceparent: span.traceparent }, next);
    const { status, headers } = c.res;
    headers.set("traceparent", span.traceparent);
    // The route of the handler that was executed last: another route may match the path too.
    const route = routePath(c);
    if (route.startsWith("/") && !route.includes("*")) {
      span.rename(`${method} ${route}`);
      span.set({ [ATTR_HTTP_ROUTE]: route });
    }
    span.set({ [ATTR_HTTP_RESPONSE_STATUS_CODE]: status });
    if (status >= 500) span.fail(c.error ?? { code: status });
  } finally {
    span.end();
    // The request itself may have read that there is another collector now.
    (await currentTracing(c))?.flush(c.get("services").waitUntil);
  }
}

function currentTracing(c: Context<ApiEnv>): Promise<EdgeTracing | null> {
  const { config, waitUntil } = c.get("services");
  return tracingOf(config, waitUntil);
}
