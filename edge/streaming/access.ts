import type { Context } from "hono";
import { RunId } from "../../shared/contracts/ids.ts";
import type { Principal } from "../../shared/contracts/tenant.ts";
import { AppError } from "../../shared/errors.ts";
import { readRun } from "../../shared/store/runs/read-runs.ts";
import type { RunRow } from "../../shared/store/runs/read-runs.ts";
import type { ApiEnv } from "../http/api.ts";
import { addressOf, bearerKey, principalOf, requireScope } from "../http/middleware/principal.ts";
import { findRun, noRun } from "../runs/run-view.ts";
import { expiryOf, readStreamToken } from "./token.ts";

/**
 * Returns the run if this caller may see its events. The caller presents an API key in the header, or a stream
 * token or an API key in the query, because a browser's EventSource cannot set headers.
 * @throws AppError `unauthorized`, `forbidden` or `not_found`
 */
export async function authorizedRun(
  c: Context<ApiEnv>,
  runId: string,
  token: string | undefined,
): Promise<RunRow> {
  if (token !== undefined && c.req.header("authorization") === undefined && !token.startsWith("sk-syn-")) {
    return runOfToken(c, runId, token);
  }
  return findRun(c.get("services").sql, await viewerPrincipal(c, token), runId);
}

/**
 * The principal of the API key in the header or, when there is none, in the query.
 * @throws AppError `unauthorized`, `forbidden`
 */
export async function viewerPrincipal(c: Context<ApiEnv>, token: string | undefined): Promise<Principal> {
  const inQuery = c.req.header("authorization") === undefined && token !== undefined;
  const principal = await principalOf(c.get("services"), inQuery ? token : bearerKey(c), addressOf(c));
  requireScope(principal, "runs:read");
  return principal;
}

async function runOfToken(c: Context<ApiEnv>, runId: string, token: string): Promise<RunRow> {
  const { config, sql } = c.get("services");
  const claim = await readStreamToken(config.STREAM_TOKEN_SECRET, token);
  if (!claim)
    throw new AppError(
      "unauthorized",
      "This stream token is not valid. Create one with POST …/runs/{run_id}/stream-token.",
    );
  if (claim.run !== runId) throw noRun();
  const row = await readRun(sql, null, RunId.parse(runId));
  if (!row) throw noRun();
  const expiry = expiryOf(claim.madeAtMs, row.ended_at_ms);
  if (expiry !== null && Date.now() > expiry)
    throw new AppError("unauthorized", "This stream token has expired. Create a new one.");
  return row;
}
