import { z } from "zod";
import { RunId, SessionId } from "../../shared/contracts/ids.ts";
import { sign, verify } from "../http/hmac.ts";

/**
 * A token stays valid this long after its run's end, or after its own creation when that is later: a browser's
 * EventSource reconnects with it.
 */
const AFTER_END_MS = 3_600_000;

/** No token is valid for longer, because a paused run may never end. */
const MAX_AGE_MS = 7 * 24 * 3_600_000;

/** A token as the API returns it. */
export const StreamToken = z
  .object({ token: z.string(), stream_url: z.string(), expires_at: z.iso.datetime() })
  .meta({ id: "StreamToken" });

const Opens = z.union([RunId, SessionId]);

/** What a token states: the run or chat session that it opens, the time of its creation, and the API key that created it. */
export type TokenClaim = { opens: z.infer<typeof Opens>; madeAtMs: number; keyId: string };

/** Creates a token that allows to read the events of a run or a session: `syn-st.<id>.<created, seconds>.<key id>.<HMAC-SHA256>`. */
export async function makeStreamToken(
  secret: string,
  { opens, madeAtMs, keyId }: TokenClaim,
): Promise<string> {
  const claim = `syn-st.${opens}.${Math.floor(madeAtMs / 1000)}.${keyId}`;
  return `${claim}.${await sign(secret, claim)}`;
}

/**
 * The claim of a token; null: it is no token, or its signature is wrong. It does not check whether the token has expired, nor whether
 * its key is still valid.
 */
export async function readStreamToken(secret: string, token: string): Promise<TokenClaim | null> {
  const parts = /^(syn-st\.([^.]+)\.([0-9]{1,12})\.([^.]+))\.([0-9a-f]{64})$/.exec(token);
  const [, claim = "", opens, made, keyId = "", signature = ""] = parts ?? [];
  const id = Opens.safeParse(opens);
  if (!id.success || !(await verify(secret, claim, signature))) return null;
  return { opens: id.data, madeAtMs: Number(made) * 1000, keyId };
}

/** The time at which a token expires. @param endedAtMs the end of its run; null: it has not ended, and the latest time is returned */
export function expiryOf(madeAtMs: number, endedAtMs: number | null): number {
  const latest = madeAtMs + MAX_AGE_MS;
  // Two clocks are compared here (the edge's and Postgres'); an hour is long against their difference.
  return endedAtMs === null ? latest : Math.min(latest, Math.max(madeAtMs, endedAtMs) + AFTER_END_MS);
}
