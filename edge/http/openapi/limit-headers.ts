import { isObject } from "../../../shared/contracts/json.ts";
import type { JsonObject } from "../../../shared/contracts/json.ts";

const fields = (description: string, example: string): JsonObject => ({
  description,
  schema: { type: "string" },
  example,
});

/** The header fields that state limits, as components of the document (draft-ietf-httpapi-ratelimit-headers-11). */
export const LIMIT_HEADERS: JsonObject = {
  RateLimitPolicy: fields(
    "The tenant's limits: a list of structured fields. `q`: the limit, `w`: its window in seconds, `qu`: its unit where it is not requests. Absent where no limit is known.",
    '"requests";q=1000;w=1, "queued";q=1000;qu="queued-runs"',
  ),
  RateLimit: fields(
    "What is left of them. `r`: how many, `t`: seconds until there is more.",
    '"requests";r=998;t=1, "queued";r=941',
  ),
  RetryAfter: {
    description: "Seconds after which the same request may succeed.",
    schema: { type: "integer", minimum: 1 },
    example: 2,
  },
};

const refer = (name: string): JsonObject => ({ $ref: `#/components/headers/${name}` });

const STATES: JsonObject = { "RateLimit-Policy": refer("RateLimitPolicy"), RateLimit: refer("RateLimit") };

/** The fields of a refusal that passes. */
const REFUSED: JsonObject = { "Retry-After": refer("RetryAfter"), ...STATES };

/** The headers of a problem of this status; none: it states no limits. */
export function problemHeaders(status: number): { headers?: JsonObject } {
  return status === 429 || status === 503 ? { headers: REFUSED } : {};
}

/** Adds what a POST that succeeded states of the limits that are left. */
export function addLimitHeaders(responses: JsonObject): void {
  for (const [status, response] of Object.entries(responses)) {
    if (!status.startsWith("2") || !isObject(response)) continue;
    const { headers } = response;
    response["headers"] = { ...(isObject(headers) ? headers : {}), ...STATES };
  }
}
