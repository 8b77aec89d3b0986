import { z } from "zod";
import { RunId } from "../../shared/contracts/ids.ts";
import { JsonRecord } from "../../shared/contracts/json.ts";
import { RunError, RunStatus } from "../../shared/contracts/run.ts";
import type { Principal } from "../../shared/contracts/tenant.ts";
import { AppError } from "../../shared/errors.ts";
import { stepOfPath } from "../../shared/journal/track.ts";
import { clientKeyOf } from "../../shared/contracts/singleton-key.ts";
import { readRun } from "../../shared/store/runs/read-runs.ts";
import type { ListedRun } from "../../shared/store/runs/list-runs.ts";
import type { FoundRun, RunRow } from "../../shared/store/runs/read-runs.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { isQuestion } from "../../shared/store/runs/open-waits.ts";
import { isoTime } from "../../shared/text/iso-time.ts";
import { Child, RunWait, childOf, waitsOf } from "./run-waits.ts";
import type { Related } from "./run-waits.ts";

const time = z.iso.datetime().nullable();

/** A run as clients see it. */
export const RunView = z
  .object({
    run_id: RunId,
    orchestration_id: z.string(),
    status: RunStatus,
    current_step_id: z.string().nullable(),
    /** Where that step is; of several branches that move, the step of the last entry. */
    current_step_path: z.string().nullable(),
    waiting_for_human: z.boolean(),
    worker_id: z.string().nullable(),
    total_cost_usd: z.number(),
    total_tokens_used: z.number().int(),
    /** A provider did not report the tokens of a call: its part of both totals is estimated. */
    usage_estimated: z.boolean(),
    started_at: time,
    ended_at: time,
    queued_at: z.iso.datetime(),
    tenant_id: z.string(),
    triggered_by: z.string(),
    correlation_id: z.string(),
    singleton_key: z.string().nullable(),
    session_id: z.string().nullable(),
    /** As the client gave it. */
    metadata: JsonRecord,
    attempt: z.number().int(),
    step_count: z.number().int(),
    definition_version: z.number().int(),
    error: RunError.nullable(),
    /** The first of `waits`. */
    waiting: RunWait.nullable(),
    /**
     * The open questions, then the timers, then the waits for budgets, the oldest first, 100 at most; then the children that it
     * waits for; or the time of the next try or of the start.
     */
    waits: z.array(RunWait),
    /** The run that has started this one. */
    parent_run_id: RunId.nullable(),
    /** The runs that this one has started, the oldest first. */
    children: z.array(Child),
  })
  .meta({ id: "Run" });
export type RunView = z.infer<typeof RunView>;

/** A run in a list: without its waits and its children. */
export const RunSummary = RunView.omit({ waiting: true, waits: true, children: true }).meta({
  id: "RunSummary",
});
export type RunSummary = z.infer<typeof RunSummary>;

export function summaryOf(row: ListedRun): RunSummary {
  const view = runViewOf(row, { openWaits: [], children: [] });
  const { waiting: _waiting, waits: _waits, children: _children, ...summary } = view;
  return { ...summary, waiting_for_human: row.asks };
}

export function runViewOf(row: RunRow, { openWaits, children }: Related): RunView {
  const waits = waitsOf(row, openWaits, children);
  return {
    run_id: row.run_id,
    orchestration_id: row.orchestration_id,
    status: row.status,
    current_step_id: row.current_step_id === null ? null : stepOfPath(row.current_step_id),
    current_step_path: row.current_step_id,
    waiting_for_human: openWaits.some(isQuestion),
    worker_id: row.worker_id,
    total_cost_usd: row.cost_micro_usd / 1_000_000,
    total_tokens_used: row.tokens,
    usage_estimated: row.usage_estimated,
    started_at: isoTime(row.started_at_ms),
    ended_at: isoTime(row.ended_at_ms),
    queued_at: isoTime(row.queued_at_ms),
    tenant_id: row.tenant_id,
    triggered_by: row.triggered_by,
    correlation_id: row.correlation_id,
    singleton_key: row.singleton_key === null ? null : clientKeyOf(row.singleton_key),
    session_id: row.session_id,
    metadata: JsonRecord.parse(JSON.parse(row.metadata)),
    attempt: row.attempt,
    step_count: row.step_count,
    definition_version: row.definition_version,
    error: row.error,
    waiting: waits[0] ?? null,
    waits,
    parent_run_id: row.parent_run_id,
    children: children.map(childOf),
  };
}

/** The response for a run that has been queued, by a start or a retry. */
export const RunAccepted = z
  .object({
    run_id: RunId,
    status: z.enum(["queued", "skipped"]),
    stream_url: z.string(),
    status_url: z.string(),
    /** No run was started: `run_id` is the run that has the singleton key (policy `skip`). */
    skipped: z.literal(true).optional(),
  })
  .meta({ id: "RunAccepted" });
export type RunAccepted = z.infer<typeof RunAccepted>;

/** The body of a 202. @param skipped no run was started, and `run_id` is the run that has the singleton key */
export function acceptedOf(run_id: RunId, skipped = false): RunAccepted {
  const url = `/api/v2/orchestrations/runs/${run_id}`;
  const urls = { stream_url: `${url}/stream`, status_url: `${url}/status` };
  return skipped ? { run_id, status: "skipped", ...urls, skipped } : { run_id, status: "queued", ...urls };
}

/** The run that a path names. @throws AppError `not_found`, also for a run of another tenant */
export async function findRun(sql: Sql, principal: Principal, runId: string): Promise<FoundRun> {
  const id = RunId.safeParse(runId);
  if (!id.success)
    throw new AppError(
      "not_found",
      `There is no such run: a run id ${id.error.issues[0]?.message ?? "has another form"}.`,
    );
  const row = await readRun(sql, principal.tenant, id.data);
  if (!row) throw noRun();
  return row;
}

/** @param named the run, where a request names several */
export function noRun(named?: string): AppError {
  return new AppError(
    "not_found",
    named === undefined ? "There is no such run." : `There is no run ${named}.`,
  );
}
