import { createMiddleware } from "hono/factory";
import type { Context } from "hono";
import { TERMINAL } from "../../shared/contracts/run.ts";
import { log, messageOf } from "../../shared/log.ts";
import type { RunRow } from "../../shared/store/runs/read-runs.ts";
import type { ApiEnv } from "../http/api.ts";
import { requireScope } from "../http/middleware/principal.ts";
import { preferenceApplied, waitSecondsOf } from "../http/prefer.ts";
import { resultOf } from "./run-result.ts";
import { RunAccepted, findRun } from "./run-view.ts";

/** The pause before a stream that ended before its run is opened again: what every stream tells its viewers. */
const REOPEN_MS = 1_000;

/**
 * `Prefer: wait=N` of a request that starts a run: after the 202 is made, the request is held until the run has ended, or for
 * N seconds. Then it is answered with 200 and the result, for which the key needs `runs:read`, or with the 202. A run that is committed never becomes an error: when
 * it cannot be waited for, the 202 is sent at once, without `Preference-Applied`.
 *
 * It comes before the middleware that counts the request's body: nothing of the body is held while it waits.
 */
export const waitForEnd = createMiddleware<ApiEnv>(async (c, next) => {
  const seconds = waitSecondsOf(c);
  if (seconds !== null) requireScope(c.get("principal"), "runs:read");
  await next();
  if (seconds === null || c.res.status !== 202) return;
  try {
    const { run_id } = RunAccepted.parse(await c.res.clone().json());
    const ended = await endedRun(c, run_id, seconds);
    if (ended !== null) c.res = Response.json(await resultOf(c.get("services").sql, ended));
    preferenceApplied(c.res.headers, `wait=${seconds}`);
  } catch (error) {
    log.warn("run.not_waited_for", { request: c.get("requestId"), message: messageOf(error) });
  }
});

/**
 * The run, once it has ended; null when the time is over or the caller has left. It is a viewer of the run's stream, which
 * ends with the run, and asks Postgres only when that stream has ended.
 */
async function endedRun(c: Context<ApiEnv>, runId: string, seconds: number): Promise<RunRow | null> {
  const { sql } = c.get("services");
  const signal = AbortSignal.any([c.req.raw.signal, AbortSignal.timeout(seconds * 1_000)]);
  for (let pauseMs = 0; ; pauseMs = REOPEN_MS) {
    const row = await findRun(sql, c.get("principal"), runId);
    if (TERMINAL.has(row.status)) return row;
    if (signal.aborted) return null;
    if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs));
    await streamEnd(c, row, signal);
  }
}

/** Resolves when the stream of the run's events has ended, or `signal` is aborted. */
async function streamEnd(c: Context<ApiEnv>, row: RunRow, signal: AbortSignal): Promise<void> {
  const { run_id: run, tenant_id: tenant, event_seq: after } = row;
  const join = { run, tenant, after, keyId: c.get("principal").key_id, untilMs: null };
  const { body } = await c.get("services").relay(join, signal);
  const reader = body?.getReader();
  const stop = (): void => void reader?.cancel();
  signal.addEventListener("abort", stop, { once: true });
  try {
    for (let read = await reader?.read(); read?.done === false; read = await reader?.read());
  } catch (error) {
    if (signal.aborted) return;
    log.warn("run.wait_broke", { run, message: messageOf(error) });
  } finally {
    signal.removeEventListener("abort", stop);
  }
}
