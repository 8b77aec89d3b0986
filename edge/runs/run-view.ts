import { z } from "zod";
import { ShownVote } from "../../shared/contracts/approval.ts";
import type { Decision } from "../../shared/contracts/approval.ts";
import { FormField } from "../../shared/contracts/definition/human.ts";
import { RunId } from "../../shared/contracts/ids.ts";
import { JsonRecord } from "../../shared/contracts/json.ts";
import { RunError, RunStatus } from "../../shared/contracts/run.ts";
import type { Principal } from "../../shared/contracts/tenant.ts";
import { AppError } from "../../shared/errors.ts";
import { pathOfWait, stepOfPath } from "../../shared/journal/track.ts";
import { clientKeyOf } from "../../shared/contracts/singleton-key.ts";
import { readRun } from "../../shared/store/runs/read-runs.ts";
import type { RunRow } from "../../shared/store/runs/read-runs.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { isQuestion } from "../../shared/store/runs/open-waits.ts";
import type { OpenWait, Question } from "../../shared/store/runs/open-waits.ts";
import { isoTime } from "../http/time.ts";

const time = z.iso.datetime().nullable();

/** What a run, or a branch of it, waits for. */
const Waiting = z.discriminatedUnion("reason", [
  z.object({ reason: z.literal("retry"), until: z.iso.datetime() }),
  /** The run has not started: `delay_seconds` or `run_at` says when it does. */
  z.object({ reason: z.literal("delay"), until: z.iso.datetime() }),
  /** Another run has its singleton key. */
  z.object({ reason: z.literal("singleton"), singleton_key: z.string() }),
  z.object({
    reason: z.literal("timer"),
    step_id: z.string(),
    path: z.string(),
    since: z.iso.datetime(),
    until: z.iso.datetime(),
  }),
  z.object({
    reason: z.literal("human"),
    /** Names the question in an answer. */
    question_id: z.string(),
    step_id: z.string(),
    /** Where the step is: `fanout[1].ask` in a branch or a loop, elsewhere its id. */
    path: z.string(),
    prompt: z.string(),
    fields: z.array(FormField),
    asked_at: z.iso.datetime(),
    expires_at: time,
    /** Who may answer, and who has; null: anyone may, and the first answer counts. */
    approval: z
      .object({
        approvers: z.array(z.string()),
        /** Null: the first answer of an approver counts. */
        needed: z.number().int().nullable(),
        approved: z.number().int(),
        rejected: z.number().int(),
        /** How often the question has gone to a further group. */
        level: z.number().int(),
        votes: z.array(ShownVote),
      })
      .nullable(),
  }),
]);

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
    waiting: Waiting.nullable(),
    /** The open questions, then the timers, the oldest first, 100 at most; or the time of the next try or of the start. */
    waits: z.array(Waiting),
  })
  .meta({ id: "Run" });
export type RunView = z.infer<typeof RunView>;

/** A run in a list: without what it waits for. */
export const RunSummary = RunView.omit({ waiting: true, waits: true }).meta({ id: "RunSummary" });
export type RunSummary = z.infer<typeof RunSummary>;

export function summaryOf(row: RunRow): RunSummary {
  const { waiting: _waiting, waits: _waits, ...summary } = viewOf(row);
  return { ...summary, waiting_for_human: row.asks };
}

/** @param open the open questions and timers of the run */
export function viewOf(row: RunRow, open: readonly OpenWait[] = []): RunView {
  const waits = waitsOf(row, open);
  return {
    run_id: row.run_id,
    orchestration_id: row.orchestration_id,
    status: row.status,
    current_step_id: row.current_step_id === null ? null : stepOfPath(row.current_step_id),
    current_step_path: row.current_step_id,
    waiting_for_human: open.some(isQuestion),
    worker_id: row.worker_id,
    total_cost_usd: row.cost_micro_usd / 1_000_000,
    total_tokens_used: row.tokens,
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
  };
}

/**
 * A run that is queued for a later time waits for its start, or, when it has started (attempt 1 or more), to try a step once
 * more. While a question or a timer is open this is not shown, because the run may wake for another reason too. A chat turn
 * that waits for another turn has no time of its own.
 */
function waitsOf(row: RunRow, open: readonly OpenWait[]): RunView["waits"] {
  if (open.length > 0) return open.map(waitOf);
  const until = isoTime(row.wake_at_ms);
  if (row.status !== "queued" || until === null || (row.due_in_ms ?? 0) <= 0) return [];
  if (row.waits_for_key)
    return [{ reason: "singleton", singleton_key: clientKeyOf(row.singleton_key ?? "") }];
  if (row.attempt > 0) return [{ reason: "retry", until }];
  return row.delayed ? [{ reason: "delay", until }] : [];
}

function waitOf(wait: OpenWait): RunView["waits"][number] {
  const { wait_id, step_id, opened_at_ms } = wait;
  const path = pathOfWait(wait);
  if (wait.kind === "timer") {
    return {
      reason: "timer",
      step_id,
      path,
      since: isoTime(opened_at_ms),
      until: isoTime(wait.deadline_at_ms),
    };
  }
  const { prompt, fields, deadline_at_ms } = wait;
  const asked_at = isoTime(opened_at_ms);
  const expires_at = isoTime(deadline_at_ms);
  const approval = approvalOf(wait);
  return {
    reason: "human",
    question_id: wait_id,
    step_id,
    path,
    prompt,
    fields,
    asked_at,
    expires_at,
    approval,
  };
}

function approvalOf({ approvers, approvals_needed: needed, level, votes }: Question) {
  if (approvers === null) return null;
  const countOf = (of: Decision): number => votes.filter(({ decision }) => decision === of).length;
  return {
    approvers,
    needed,
    approved: countOf("approve"),
    rejected: countOf("reject"),
    level,
    votes,
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

export function acceptedOf(run_id: RunId, skipped = false): RunAccepted {
  const url = `/api/v2/orchestrations/runs/${run_id}`;
  const urls = { stream_url: `${url}/stream`, status_url: `${url}/status` };
  return skipped ? { run_id, status: "skipped", ...urls, skipped } : { run_id, status: "queued", ...urls };
}

/** The run that a path names. @throws AppError `not_found`, also for a run of another tenant */
export async function findRun(sql: Sql, principal: Principal, runId: string): Promise<RunRow> {
  const id = RunId.safeParse(runId);
  const row = id.success ? await readRun(sql, principal.tenant, id.data) : null;
  if (!row) throw noRun();
  return row;
}

export function noRun(): AppError {
  return new AppError("not_found", "There is no such run.");
}
