import { OpenAPIHono } from "@hono/zod-openapi";
import { getPathNoStrict } from "hono/utils/url";
import type { QuotaState } from "../../shared/contracts/quota.ts";
import type { z } from "zod";
import { AppError, fieldErrorsOf } from "../../shared/errors.ts";
import type { TenantId } from "../../shared/contracts/ids.ts";
import type { Principal } from "../../shared/contracts/tenant.ts";
import type { Env } from "../env.ts";
import { Problem, schemaError } from "./problem.ts";
import type { Services } from "../services.ts";

/** What the handler of an audited route records of its change. `target`: the id of the thing that is changed. */
type AuditFacts = { target: string | null; tenant: TenantId | null };

/** What middleware has set when a route's handler runs. */
export type Variables = {
  requestId: string;
  services: Services;
  principal: Principal;
  /** What a tenant has left of its limits, as the response states it. */
  quota?: readonly QuotaState[];
  /** Set by the handlers of routes that are audited. */
  audit?: AuditFacts;
};
export type ApiEnv = { Bindings: Env; Variables: Variables };

/** The app, as routes are added to it. */
export type Api = OpenAPIHono<ApiEnv>;

/** An API without routes. A request that a route's schema refuses gets a problem that names each wrong field. */
export function newApi(): Api {
  return new OpenAPIHono<ApiEnv>({
    // A slash at the end of a path is ignored. Some HTTP clients percent-encode the colon of `runs:cancel`.
    getPath: (request) => getPathNoStrict(request).replaceAll(/%3a/gi, ":"),
    defaultHook(result, c) {
      if (result.success) return;
      // No resource has a malformed id, so it is a 404. For PUT, which would create the id, it is a 422 with the rule for ids.
      if (result.target === "param" && c.req.method !== "PUT") {
        throw malformedId(result.error);
      }
      throw schemaError(result.error);
    },
  });
}

/** The error for an id in a path that no resource can have: it says what an id looks like. */
export function malformedId(error: { issues: readonly z.core.$ZodIssue[] }): AppError {
  const [field] = fieldErrorsOf(error);
  const why = field === undefined ? "" : `: ${field.path} ${field.message}`;
  return new AppError("not_found", `There is no such resource${why}.`);
}

/**
 * The problem responses of a route that needs a key, for its documentation. Each route has 422: it refuses a query parameter that it
 * does not have. Each has 429: the requests of a tenant are counted wherever its key is read.
 */
export function problems(...statuses: number[]) {
  return problemsAlone(401, 403, 422, 429, 500, 503, ...statuses);
}

/**
 * These problem responses and no others, for the documentation of a route. A route with 415 reads a body, so it also has 408: the client
 * stopped sending.
 */
export function problemsAlone(...statuses: number[]) {
  const all = statuses.includes(415) ? [...statuses, 408] : statuses;
  return Object.fromEntries(
    all.map((status) => [
      status,
      { description: "A problem, see `code`", content: { "application/problem+json": { schema: Problem } } },
    ]),
  );
}

/** The name of an operation that has two paths: the predecessor's clients use the one with the longer prefix. */
export function operationIdAt(prefix: string, name: string): string {
  return prefix === "/scale" ? name : `${name}AtApi`;
}

/** A JSON response, for a route's documentation. */
export function json<Schema>(schema: Schema, description: string) {
  return { description, content: { "application/json": { schema } } };
}
