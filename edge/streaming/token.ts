import { RunId } from "../../shared/contracts/ids.ts";
import { sign, verify } from "../http/hmac.ts";

/**
 * A token stays valid this long after its run's end, or after its own creation when that is later: a browser's
 * EventSource reconnects with it.
 */
const AFTER_END_MS = 3_600_000;

/** Creates a token that allows to read one run's events: `syn-st.<run>.<created, seconds>.<HMAC-SHA256>`. */
export async function makeStreamToken(secret: string, run: RunId, nowMs: number): Promise<string> {
  const claim = `syn-st.${run}.${Math.floor(nowMs / 1000)}`;
  return `${claim}.${await sign(secret, claim)}`;
}

/**
 * Returns a token's run and creation time, or null when its signature is wrong. It does not check whether the token
 * has expired.
 */
export async function readStreamToken(
  secret: string,
  token: string,
): Promise<{ run: RunId; madeAtMs: number } | null> {
  const parts = /^(syn-st\.([^.]+)\.([0-9]{1,12}))\.([0-9a-f]{64})$/.exec(token);
  const [, claim = "", run, made, signature = ""] = parts ?? [];
  const id = RunId.safeParse(run);
  if (!id.success || !(await verify(secret, claim, signature))) return null;
  return { run: id.data, madeAtMs: Number(made) * 1000 };
}

/** The time at which a token expires when its run ended at `endedAtMs`; null while the run has not ended. */
export function expiryOf(madeAtMs: number, endedAtMs: number | null): number | null {
  // Two clocks are compared here (the edge's and Postgres'); an hour is long against their difference.
  return endedAtMs === null ? null : Math.max(madeAtMs, endedAtMs) + AFTER_END_MS;
}
