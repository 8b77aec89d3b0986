import { RunId } from "../../shared/contracts/ids.ts";
import { sign, verify } from "../http/hmac.ts";

/** How long a token outlives its run, or its own making when that was later: a browser's EventSource comes back with it. */
const AFTER_END_MS = 3_600_000;

/** A token that may only read one run's events: `syn-st.<run>.<made, seconds>.<HMAC-SHA256>`. */
export async function makeStreamToken(secret: string, run: RunId, nowMs: number): Promise<string> {
  const claim = `syn-st.${run}.${Math.floor(nowMs / 1000)}`;
  return `${claim}.${await sign(secret, claim)}`;
}

/** The run that a token is for and when it was made; null when it is not one of ours. Says nothing of its expiry. */
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

/** When a token of a run that ended at `endedAtMs` is no longer good; null while the run has not ended. */
export function expiryOf(madeAtMs: number, endedAtMs: number | null): number | null {
  // Two clocks, but an hour is long against what they differ by.
  return endedAtMs === null ? null : Math.max(madeAtMs, endedAtMs) + AFTER_END_MS;
}
