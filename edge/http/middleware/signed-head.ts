import { createMiddleware } from "hono/factory";
import { AppError } from "../../../shared/errors.ts";
import type { ApiEnv } from "../api.ts";
import { verify } from "../hmac.ts";

/** The clocks of a worker and of the edge may differ by this much. A recorded request can be repeated for no longer than this. */
const MAX_SKEW_MS = 60_000;

/**
 * Refuses a request to /internal before its body is read, unless a worker has signed the head: the signature `h1` covers
 * the time, the path and the Content-Length, so the edge reads no byte of a caller that lacks the secret.
 * @throws AppError `not_found` where the workers reach Postgres directly (no STATE_SECRET); `unauthorized`
 */
export const signedHead = createMiddleware<ApiEnv>(async (c, next) => {
  const { STATE_SECRET } = c.get("services").config;
  if (!STATE_SECRET) throw new AppError("not_found", "There is no such path.");
  const { at, head } = readSignature(c.req.header("x-synapse-signature"));
  const isFresh = Math.abs(Date.now() - Number(at) * 1_000) <= MAX_SKEW_MS;
  const signed = `${at}.${c.req.path}.${c.req.header("content-length") ?? ""}`;
  if (!isFresh || !(await verify(STATE_SECRET, signed, head))) throw notSigned();
  await next();
});

/** The parts of `X-Synapse-Signature: t=<unix seconds>,h1=<hex>,v1=<hex>`; empty ones for another header. */
export function readSignature(header: string | undefined): { at: string; head: string; body: string } {
  const [, at = "", head = "", body = ""] =
    /^t=([0-9]{1,12}),h1=([0-9a-f]{64}),v1=([0-9a-f]{64})$/.exec(header ?? "") ?? [];
  return { at, head, body };
}

export function notSigned(): AppError {
  return new AppError("unauthorized", "The request is not signed by a worker of this installation.");
}
