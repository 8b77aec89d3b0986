import { createMiddleware } from "hono/factory";
import type { Context } from "hono";
import type { FieldError } from "../../../shared/errors.ts";
import type { ApiEnv } from "../api.ts";
import type { DocumentedRoute } from "../documented-routes.ts";
import { readBody } from "../read-body.ts";
import { MAX_REPORTED, serveWithout } from "../unknown-names.ts";
import { bearerKey, principalOf } from "./principal.ts";

/**
 * Refuses the fields of a body that its route does not read: a client that sends `turn_id` in the body of a cancel must not cancel
 * another turn. Every route without a body in the document is checked here, and so is a body of a GET, which no route reads. An empty body, `{}` and `null` say nothing, and many
 * clients send them with every request. A caller without a valid key gets 401, and its body is not read.
 */
export function knownBody(routeOf: (c: Context<ApiEnv>) => DocumentedRoute | null) {
  return createMiddleware<ApiEnv>(async (c, next) => {
    const isRead = c.req.method === "GET" || c.req.method === "HEAD";
    if (isRead ? !hasBody(c) : c.req.raw.body === null) return next();
    const route = routeOf(c);
    if (route === null || route.takesBody) return next();
    if (route.needsKey) await principalOf(c, bearerKey(c));
    if (isRead) return serveWithout(c, next, [OF_READS]);
    return serveWithout(c, next, ignoredParts(decoder.decode(await readBody(c)), route.known));
  });
}

/** A body of a GET has no meaning (RFC 9110, 9.3.1), and the runtime may have left it out of the request. */
const OF_READS: FieldError = {
  path: "",
  message: "must be empty: GET takes no body, a filter goes into the URL",
};

/** The length of `null`. Nothing that is shorter, such as `{}`, has room for a filter. */
const SAYS_NOTHING_BYTES = 4;

/** Whether a GET has a body that may say something. It is known by its headers alone. */
function hasBody({ req }: Context<ApiEnv>): boolean {
  if (req.header("transfer-encoding") !== undefined) return true;
  return Number(req.header("content-length") ?? 0) > SAYS_NOTHING_BYTES;
}

const decoder = new TextDecoder();

/** What the route would ignore of this body. `parameters`: the names of its query parameters. */
function ignoredParts(text: string, parameters: readonly string[]): FieldError[] {
  const body = text.trim() === "" ? null : parsed(text);
  if (body === null) return [];
  if (typeof body !== "object" || Array.isArray(body)) {
    return [{ path: "", message: "must be empty: this request takes none" }];
  }
  return Object.keys(body)
    .slice(0, MAX_REPORTED)
    .map((path) => ({
      path,
      message: parameters.includes(path)
        ? "is a query parameter of this request: send it in the URL"
        : "is no field of this request: it takes no body",
    }));
}

/** The JSON value of a text; of any other text the text itself. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
