import type { Context } from "hono";
import { z } from "zod";
import type { RunId, SessionId, TenantId } from "../../shared/contracts/ids.ts";
import type { Principal } from "../../shared/contracts/tenant.ts";
import { AppError } from "../../shared/errors.ts";
import { log, messageOf } from "../../shared/log.ts";
import { readRunsToWatch } from "../../shared/store/runs/read-runs.ts";
import type { RunToWatch } from "../../shared/store/runs/read-runs.ts";
import { findValidKeys } from "../../shared/store/tenants/api-keys.ts";
import type { ApiEnv } from "../http/api.ts";
import { bearerKey, principalOf, requireScope, tenantFilterOf } from "../http/middleware/principal.ts";
import { toAppError } from "../http/problem.ts";
import { findSession, noSession } from "../chat/session-view.ts";
import { Event } from "../runs/listed-events.ts";
import { noRun } from "../runs/run-view.ts";
import { OTHER_POSITION_NAMES } from "../http/position-names.ts";
import { reconnectLater } from "./sse-writer.ts";
import { expiryOf, readStreamToken } from "./token.ts";
import type { TokenClaim } from "./token.ts";
import type { Grant } from "./viewer-join.ts";

/**
 * Streams the events of a run after number `after`, from the relay of its shard. The relay also serves runs that have ended: all its
 * viewers share its connections, and a slow viewer takes a page of memory and no connection.
 * @throws AppError `too_many_streams`
 */
export function openEvents(c: Context<ApiEnv>, { row, grant }: WatchedRun, after: number): Promise<Response> {
  const join = { ...grant, run: row.run_id, tenant: row.tenant_id, after };
  return fromObject(c, () => c.get("services").relay(join, c.req.raw.signal));
}

/** A run that the caller may watch, and its permission. */
export type WatchedRun = { row: RunToWatch; grant: Grant };

/**
 * Returns the runs if this caller may see the events of all of them. The caller presents an API key in the header, or
 * in the query an API key or stream tokens, one for each run in any order, because a browser's EventSource cannot set
 * headers. Runs of another tenant than `named` do not exist.
 * @throws AppError `unauthorized`, `forbidden` or `not_found`
 */
export async function authorizedRuns(
  c: Context<ApiEnv>,
  runs: readonly RunId[],
  tokens: readonly string[],
  named?: TenantId,
): Promise<WatchedRun[]> {
  const [first] = tokens;
  if (first === undefined || hasKeyInHeader(c) || first.startsWith("sk-syn-")) {
    const principal = await viewerPrincipal(c, tokens);
    const grant = { keyId: principal.key_id, untilMs: null };
    const rows = await readAll(c, tenantFilterOf(principal, named), runs);
    return rows.map((row) => ({ row, grant }));
  }
  const claims = await validClaims(c, tokens);
  const rows = await readAll(c, named ?? null, runs);
  return rows.map((row) => ({ row, grant: grantOf(row, claims) }));
}

/**
 * The session if this caller may see the events of its turns, and the caller's permission: an API key, or a stream token of the
 * session.
 * @throws AppError `unauthorized`, `forbidden` or `not_found`
 */
export async function authorizedSession(
  c: Context<ApiEnv>,
  id: string,
  tokens: readonly string[],
): Promise<{ session: SessionId; grant: Grant }> {
  const { sql } = c.get("services");
  const [first] = tokens;
  if (first === undefined || hasKeyInHeader(c) || first.startsWith("sk-syn-")) {
    const principal = await viewerPrincipal(c, tokens);
    const { session_id } = await findSession(sql, principal, id);
    return { session: session_id, grant: { keyId: principal.key_id, untilMs: null } };
  }
  const claim = (await validClaims(c, tokens)).findLast(({ opens }) => opens === id);
  if (!claim) throw noSession();
  const { session_id } = await findSession(sql, { tenant: null }, id);
  // A session has no end.
  return { session: session_id, grant: unexpired(claim, null) };
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
    if (!row) throw noRun(run);
    return row;
  });
}

/**
 * The principal of the API key in the header or, when there is none, in the query.
 * @throws AppError `unauthorized`, `forbidden`
 */
export async function viewerPrincipal(c: Context<ApiEnv>, tokens: readonly string[]): Promise<Principal> {
  const [inQuery] = hasKeyInHeader(c) ? [] : tokens;
  const principal = await principalOf(c, inQuery ?? bearerKey(c));
  requireScope(principal, "runs:read");
  return principal;
}

function hasKeyInHeader(c: Context<ApiEnv>): boolean {
  return c.req.header("authorization") !== undefined;
}

/**
 * The claims of the tokens. It does not check whether a token has expired.
 * @throws AppError `unauthorized` when a token is not genuine, or the key that created it is no longer valid
 */
async function validClaims(c: Context<ApiEnv>, tokens: readonly string[]): Promise<TokenClaim[]> {
  const { config } = c.get("services");
  const read = await Promise.all(tokens.map((token) => readStreamToken(config.STREAM_TOKEN_SECRET, token)));
  const claims = read.filter((claim) => claim !== null);
  if (claims[0]) c.get("services").takeTurnsOf(claims[0].keyId);
  if (claims.length < tokens.length) {
    throw new AppError(
      "unauthorized",
      "This stream token is not valid. Create one with POST …/stream-token of the run or the chat session.",
    );
  }
  const keyIds = [...new Set(claims.map(({ keyId }) => keyId))];
  const valid = await findValidKeys(c.get("services").sql, keyIds);
  if (valid.size === keyIds.length) return claims;
  throw new AppError("unauthorized", "The API key that created this stream token is revoked or has expired.");
}

/** @throws AppError `not_found` without a token for this run, `unauthorized` for one that has expired */
function grantOf(row: RunToWatch, claims: readonly TokenClaim[]): Grant {
  const claim = claims.findLast(({ opens }) => opens === row.run_id);
  if (!claim) throw noRun(row.run_id);
  return unexpired(claim, row.ended_at_ms);
}

/** @throws AppError `unauthorized` for a token that has expired */
function unexpired(claim: TokenClaim, endedAtMs: number | null): Grant {
  const untilMs = expiryOf(claim.madeAtMs, endedAtMs);
  if (Date.now() > untilMs)
    throw new AppError("unauthorized", "This stream token has expired. Create a new one.");
  return { keyId: claim.keyId, untilMs };
}

/** Ids or tokens separated by commas, or in several parameters of the same name. */
const list = z
  .union([z.string(), z.array(z.string())])
  .optional()
  .transform((values) => [values ?? []].flat().flatMap((value) => value.split(",")));

const text = z.union([z.string(), z.array(z.string())]).optional();

/** The query of every stream. */
export const StreamQuery = z.object({
  token: list.meta({ description: "A stream token, or several separated by commas; or an API key" }),
  lastEventId: text,
  lastEventID: text,
  "last-event-id": text,
  "Last-Event-ID": text,
  last_event_id: text.meta({
    description:
      "The same as the header `Last-Event-ID`, which goes first. Other spellings, such as `lastEventId`, are understood too",
  }),
});

/**
 * The response of a stream in the API's document. Its schema is that of the data of each event, as generators of clients (hey-api) and the
 * documents of model providers have it: OpenAPI 3.1 itself has no way to describe the items of a stream.
 */
export const eventStream = {
  description: "Server-sent events: `id` is the event's id, and `data` is an `Event` in one line of JSON",
  content: { "text/event-stream": { schema: Event } },
};

export const StreamHeaders = z.object({ "last-event-id": z.string().optional() });

/** The id of the last event that the viewer has: of the header, else of the query. */
export function lastEventIdOf(
  headers: z.infer<typeof StreamHeaders>,
  query: z.infer<typeof StreamQuery>,
): string | undefined {
  const inQuery = [...OTHER_POSITION_NAMES, "last_event_id" as const].map((name) =>
    [query[name] ?? []].flat().at(-1),
  );
  // Some clients send an empty header, or an empty parameter, beside the position.
  return [headers["last-event-id"], ...inQuery].find((id) => id !== undefined && id !== "");
}

/**
 * Answers with a stream. After a failure that will pass (503), the stream only asks the viewer to reconnect: an EventSource never
 * reconnects after an error status.
 */
export async function streamOrLater(open: () => Promise<Response>): Promise<Response> {
  try {
    return await open();
  } catch (error) {
    if (toAppError(error).status === 503) return reconnectLater();
    throw error;
  }
}

/** A stream from a Durable Object. The object may be replaced at any time: then the stream only asks the viewer to reconnect. */
export async function fromObject(c: Context<ApiEnv>, open: () => Promise<Response>): Promise<Response> {
  try {
    return await open();
  } catch (error) {
    if (error instanceof AppError) throw error;
    log.warn("stream.object_failed", { request: c.get("requestId"), message: messageOf(error) });
    return reconnectLater();
  }
}
