import type { Context } from "hono";
import type { ApiEnv } from "./api.ts";

/** Ignore fields that the API does not know (RFC 7240, 4.4); without it they are refused. */
export const LENIENT = "handling=lenient";

/**
 * Whether the request's `Prefer` headers (RFC 7240) name this preference. Letter case does not matter, nor do quotation
 * marks, spaces and parameters.
 */
export function prefers(c: Context<ApiEnv>, preference: string): boolean {
  const preferences = (c.req.header("prefer") ?? "").split(",");
  return preferences.some(
    (one) => one.replace(/;.*/s, "").replaceAll(/[\s"]/g, "").toLowerCase() === preference,
  );
}

/** Says in the response that a preference was honoured. */
export function preferenceApplied(c: Context<ApiEnv>, preference: string): void {
  c.header("Preference-Applied", preference);
}
