import { isObject } from "../../../shared/contracts/json.ts";
import type { JsonObject } from "../../../shared/contracts/json.ts";

const textHeader = (description: string, example: string): JsonObject => ({
  description,
  schema: { type: "string" },
  example,
});

/** The header fields that state limits, as components of the document (draft-ietf-httpapi-ratelimit-headers-11). */
export const LIMIT_HEADERS: JsonObject = {
  RateLimitPolicy: textHeader(
    "The tenant's limits: a list of structured fields. `q`: the limit, `w`: its window in seconds, `qu`: its unit where it is not requests. Absent where no limit is known.",
    '"requests";q=1000;w=1, "queued";q=1000;qu="queued-runs"',
  ),
  RateLimit: textHeader(
    "What is left of them. `r`: how many, `t`: seconds until there is more.",
    '"requests";r=998;t=1, "queued";r=941',
  ),
  RetryAfter: {
    description: "Seconds after which the same request may succeed.",
    schema: { type: "integer", minimum: 1 },
    example: 2,
  },
};

const headerReference = (name: string): JsonObject => ({ $ref: `#/components/headers/${name}` });

const STATE_HEADERS: JsonObject = {
  "RateLimit-Policy": headerReference("RateLimitPolicy"),
  RateLimit: headerReference("RateLimit"),
};

/** The headers of a 429 or 503, after which a retry may succeed. */
const REFUSAL_HEADERS: JsonObject = { "Retry-After": headerReference("RetryAfter"), ...STATE_HEADERS };

/** The `headers` of the problem response with this status; empty where it states no limits. */
export function problemHeaders(status: number): { headers?: JsonObject } {
  return status === 429 || status === 503 ? { headers: REFUSAL_HEADERS } : {};
}

/** Adds to the 2xx responses of a POST the headers with what is left of the limits. */
export function addLimitHeaders(responses: JsonObject): void {
  for (const [status, response] of Object.entries(responses)) {
    if (!status.startsWith("2") || !isObject(response)) continue;
    const { headers } = response;
    response["headers"] = { ...(isObject(headers) ? headers : {}), ...STATE_HEADERS };
  }
}
