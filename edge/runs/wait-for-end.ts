import { createMiddleware } from "hono/factory";
import type { Context } from "hono";
import { TERMINAL } from "../../shared/contracts/run.ts";
import { log, messageOf } from "../../shared/log.ts";
import type { FoundRun } from "../../shared/store/runs/read-runs.ts";
import type { ApiEnv } from "../http/api.ts";
import { requireScope } from "../http/middleware/principal.ts";
import { preferenceApplied, waitSecondsOf } from "../http/prefer.ts";
import { resultOf } from "./run-result.ts";
import { RunAccepted, findRun } from "./run-view.ts";

/** The pause before the run's stream is opened again when it ended before the run did. Every stream sends its viewers the same `retry:`. */
const REOPEN_MS = 1_000;

/**
 * `Prefer: wait=N` of a request that starts a run: when the 202 is ready, the edge holds it until the run has ended, or for N
 * seconds. The response is then 200 with the result, for which the key needs `runs:read`, or the 202. A committed run never
 * becomes an error: when the edge cannot wait for it, the 202 is sent at once, without `Preference-Applied`.
 *
 * This middleware comes before the one that counts the request's body, so nothing of the body is held during the wait.
 */
export const waitForEnd = createMiddleware<ApiEnv>(async (c, next) => {
  const seconds = waitSecondsOf(c);
  if (seconds !== null) requireScope(c.get("principal"), "runs:read");
  await next();
  if (seconds === null || c.res.status !== 202) return;
  try {
    const { run_id } = RunAccepted.parse(await c.res.clone().json());
    const ended = await endedRun(c, run_id, seconds);
    if (ended !== null) c.res = Response.json(await resultOf(c.get("services"), ended));
    preferenceApplied(c.res.headers, `wait=${seconds}`);
  } catch (error) {
    log.warn("run.wait_failed", { request: c.get("requestId"), message: messageOf(error) });
  }
});

/**
 * The run, once it has ended; null when the time is over or the caller has left. The request is a viewer of the run's stream,
 * which ends with the run; the edge queries Postgres only when that stream has ended.
 */
async function endedRun(c: Context<ApiEnv>, runId: string, seconds: number): Promise<FoundRun | null> {
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
async function streamEnd(c: Context<ApiEnv>, row: FoundRun, signal: AbortSignal): Promise<void> {
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
    log.warn("run.wait_stream_failed", { run, tenant, message: messageOf(error) });
  } finally {
    signal.removeEventListener("abort", stop);
  }
}
