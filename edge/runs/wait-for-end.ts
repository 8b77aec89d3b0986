import { createMiddleware } from "hono/factory";
import type { Context } from "hono";
import { z } from "zod";
import { RunId } from "../../shared/contracts/ids.ts";
import { log, messageOf } from "../../shared/log.ts";
import type { ApiEnv } from "../http/api.ts";
import { requireScope } from "../http/middleware/principal.ts";
import { preferenceApplied, waitSecondsOf } from "../http/prefer.ts";
import { endedRun } from "./ended-run.ts";
import { heldResponse } from "./hold-until-end.ts";
import { resultOf } from "./run-result.ts";

/** The 202 of a request that starts a run, or a turn of a chat. */
const Accepted = z
  .union([z.object({ run_id: RunId }), z.object({ turn_id: RunId })])
  .transform((body) =>
    "turn_id" in body
      ? { run: body.turn_id, more: { turn_id: body.turn_id } }
      : { run: body.run_id, more: {} },
  );

/**
 * The longest wait. nginx and other proxies end a response of which nothing came for 60 s, and the client would get their 504 without the
 * id of its run. The preference is an upper bound (RFC 7240, 4.3), so an earlier 202 honours it.
 */
const MAX_WAIT_MS = 59_000;

/**
 * `Prefer: wait=N` of a request that starts a run: the response waits until the run has ended, or for N seconds. It is then the 200
 * with the result, for which the key needs `runs:read`, or the 202. A committed run never becomes an error: when the edge cannot
 * wait for it, the 202 is sent at once, without `Preference-Applied`.
 *
 * With scale mode off every such request is held until the run has ended, whatever it prefers.
 *
 * It comes before the middleware that counts the request's body, so the body is no longer counted during the wait.
 */
export const waitForEnd = createMiddleware<ApiEnv>(async (c, next) => {
  const seconds = waitSecondsOf(c);
  const isHeld = !c.get("services").config.SCALE_MODE;
  if (isHeld || seconds !== null) requireScope(c.get("principal"), "runs:read");
  await next();
  if (c.res.status !== 202) return;
  if (isHeld) await hold(c);
  else if (seconds !== null) await waitAtMost(c, seconds);
});

async function hold(c: Context<ApiEnv>): Promise<void> {
  const { run, more } = Accepted.parse(await c.res.json());
  // Hono keeps the headers of the 202, except for its Content-Type.
  c.res = heldResponse(c, run, more);
}

async function waitAtMost(c: Context<ApiEnv>, seconds: number): Promise<void> {
  try {
    const { run, more } = Accepted.parse(await c.res.clone().json());
    const signal = AbortSignal.any([
      c.req.raw.signal,
      AbortSignal.timeout(Math.min(seconds * 1_000, MAX_WAIT_MS)),
    ]);
    const ended = await endedRun(c, run, signal);
    if (ended !== null) c.res = Response.json({ ...(await resultOf(c.get("services"), ended)), ...more });
    preferenceApplied(c.res.headers, `wait=${seconds}`);
  } catch (error) {
    log.warn("run.wait_failed", { request: c.get("requestId"), message: messageOf(error) });
  }
}
