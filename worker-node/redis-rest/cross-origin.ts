import type { IncomingMessage, ServerResponse } from "node:http";

/**
 * Lets pages of the configured origins read responses (CORS), and answers their preflights. Off without origins: a page
 * that may call has the token, and with it the whole Redis.
 *
 * @returns true when the request was a preflight and is answered
 */
export function crossOrigin(
  origins: readonly string[],
  { method, headers }: IncomingMessage,
  res: ServerResponse,
): boolean {
  if (origins.length === 0) return false;
  const { origin = "" } = headers;
  const allowed = origins.includes("*") ? "*" : origins.find((listed) => listed === origin);
  if (allowed !== "*") res.setHeader("vary", "Origin");
  if (allowed === undefined) return false;
  res.setHeader("access-control-allow-origin", allowed);
  res.setHeader("access-control-expose-headers", "Upstash-Sync-Token");
  if (method !== "OPTIONS") return false;
  res.writeHead(204, {
    "access-control-allow-methods": "GET, HEAD, POST, PUT",
    "access-control-allow-headers": headers["access-control-request-headers"] ?? "*",
    "access-control-max-age": "7200",
  });
  res.end();
  return true;
}
