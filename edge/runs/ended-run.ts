import type { Context } from "hono";
import { TERMINAL } from "../../shared/contracts/run.ts";
import { aboutRun, log, messageOf } from "../../shared/log.ts";
import { currentTraceparent } from "../tracing/current-span.ts";
import type { FoundRun } from "../../shared/store/runs/read-runs.ts";
import type { ApiEnv } from "../http/api.ts";
import { pause } from "../http/pause.ts";
import { findRun } from "./run-view.ts";

/** When the stream ended before the run, it is opened again after this pause, which is also the `retry:` of every stream. */
const REOPEN_MS = 1_000;

/**
 * Waits until a run has ended, and returns it; null when `signal` aborts first. The request takes a seat as a viewer of the run's
 * stream, which ends with the run: Postgres is queried only when that stream has ended.
 * @throws AppError `too_many_streams` when no seat is free
 */
export async function endedRun(
  c: Context<ApiEnv>,
  runId: string,
  signal: AbortSignal,
): Promise<FoundRun | null> {
  const { sql } = c.get("services");
  for (let pauseMs = 0; ; pauseMs = REOPEN_MS) {
    const row = await findRun(sql, c.get("principal"), runId);
    if (TERMINAL.has(row.status)) return row;
    if (signal.aborted) return null;
    if (pauseMs > 0) await pause(pauseMs, signal);
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
    // The trace is that of the request, which is also the run's if the request has started the run.
    const about = aboutRun({ run_id: run, tenant_id: tenant, traceparent: currentTraceparent() });
    log.warn("run.wait_stream_failed", { ...about, message: messageOf(error) });
  } finally {
    signal.removeEventListener("abort", stop);
  }
}
