import type { Context } from "hono";
import type { RunId, TenantId } from "../../shared/contracts/ids.ts";
import type { Principal } from "../../shared/contracts/tenant.ts";
import { AppError } from "../../shared/errors.ts";
import { readRunsToWatch } from "../../shared/store/runs/read-runs.ts";
import type { RunToWatch } from "../../shared/store/runs/read-runs.ts";
import { findValidKeys } from "../../shared/store/tenants/api-keys.ts";
import type { ApiEnv } from "../http/api.ts";
import { addressOf, bearerKey, principalOf, requireScope } from "../http/middleware/principal.ts";
import { noRun } from "../runs/run-view.ts";
import type { Grant } from "./joins.ts";
import { expiryOf, readStreamToken } from "./token.ts";
import type { TokenClaim } from "./token.ts";

/** A run that the caller may watch, and by what. */
export type WatchedRun = { row: RunToWatch; grant: Grant };

/**
 * Returns the runs if this caller may see the events of all of them. The caller presents an API key in the header, or
 * in the query an API key or stream tokens, one for each run in any order, because a browser's EventSource cannot set
 * headers.
 * @throws AppError `unauthorized`, `forbidden` or `not_found`
 */
export async function authorizedRuns(
  c: Context<ApiEnv>,
  runs: readonly RunId[],
  tokens: readonly string[],
): Promise<WatchedRun[]> {
  const [first] = tokens;
  if (first === undefined || hasKeyInHeader(c) || first.startsWith("sk-syn-")) {
    const principal = await viewerPrincipal(c, tokens);
    const grant = { keyId: principal.key_id, untilMs: null };
    const rows = await readAll(c, principal.tenant, runs);
    return rows.map((row) => ({ row, grant }));
  }
  const claims = await validClaims(c, tokens);
  const rows = await readAll(c, null, runs);
  return rows.map((row) => ({ row, grant: grantOf(row, claims) }));
}

/** The runs in the order of `runs`. @throws AppError `not_found` when one is missing */
async function readAll(
  c: Context<ApiEnv>,
  tenant: TenantId | null,
  runs: readonly RunId[],
): Promise<RunToWatch[]> {
  const rows = await readRunsToWatch(c.get("services").sql, tenant, runs);
  return runs.map((run) => {
    const row = rows.find(({ run_id }) => run_id === run);
    if (!row) throw noRun();
    return row;
  });
}

/**
 * The principal of the API key in the header or, when there is none, in the query.
 * @throws AppError `unauthorized`, `forbidden`
 */
export async function viewerPrincipal(c: Context<ApiEnv>, tokens: readonly string[]): Promise<Principal> {
  const [inQuery] = hasKeyInHeader(c) ? [] : tokens;
  const principal = await principalOf(c.get("services"), inQuery ?? bearerKey(c), addressOf(c));
  requireScope(principal, "runs:read");
  return principal;
}

function hasKeyInHeader(c: Context<ApiEnv>): boolean {
  return c.req.header("authorization") !== undefined;
}

/** What the tokens say. Each must be genuine, and the key that created it still valid. */
async function validClaims(c: Context<ApiEnv>, tokens: readonly string[]): Promise<TokenClaim[]> {
  const { config } = c.get("services");
  const read = await Promise.all(tokens.map((token) => readStreamToken(config.STREAM_TOKEN_SECRET, token)));
  const claims = read.filter((claim) => claim !== null);
  if (claims[0]) c.get("services").takeTurnsOf(claims[0].keyId);
  if (claims.length < tokens.length) {
    throw new AppError(
      "unauthorized",
      "This stream token is not valid. Create one with POST …/runs/{run_id}/stream-token.",
    );
  }
  const keyIds = [...new Set(claims.map(({ keyId }) => keyId))];
  const valid = await findValidKeys(c.get("services").sql, keyIds);
  if (valid.size === keyIds.length) return claims;
  throw new AppError("unauthorized", "The API key that created this stream token is revoked or has expired.");
}

/** @throws AppError `not_found` without a token for this run, `unauthorized` for one that has expired */
function grantOf(row: RunToWatch, claims: readonly TokenClaim[]): Grant {
  const claim = claims.findLast(({ run }) => run === row.run_id);
  if (!claim) throw noRun();
  const untilMs = expiryOf(claim.madeAtMs, row.ended_at_ms);
  if (Date.now() > untilMs)
    throw new AppError("unauthorized", "This stream token has expired. Create a new one.");
  return { keyId: claim.keyId, untilMs };
}
