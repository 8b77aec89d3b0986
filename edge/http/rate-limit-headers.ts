import type { QuotaState } from "../../shared/contracts/quota.ts";

/**
 * Adds the fields `RateLimit-Policy` and `RateLimit` of draft-ietf-httpapi-ratelimit-headers-11: lists of structured fields
 * (RFC 9651), with one member for each limit. A limit of things that exist at the same time, such as open streams, has no window.
 */
export function setRateLimit(headers: Headers, states: readonly QuotaState[]): void {
  if (states.length === 0) return;
  headers.set("ratelimit-policy", states.map(policyOf).join(", "));
  headers.set("ratelimit", states.map(remainingOf).join(", "));
}

function policyOf({ name, limit, windowSeconds }: QuotaState): string {
  const window = windowSeconds === null ? "" : `;w=${windowSeconds}`;
  const unit = UNITS[name];
  return `"${name}";q=${limit}${unit === undefined ? "" : `;qu="${unit}"`}${window}`;
}

function remainingOf({ name, left, resetSeconds }: QuotaState): string {
  return `"${name}";r=${left}${resetSeconds === null ? "" : `;t=${resetSeconds}`}`;
}

/** The units of limits that do not count requests. */
const UNITS: Partial<Record<QuotaState["name"], string>> = {
  runs: "runs",
  queued: "queued-runs",
  streams: "open-streams",
};
