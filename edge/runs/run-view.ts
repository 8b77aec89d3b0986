import { z } from "zod";
import { FormField } from "../../shared/contracts/definition/human.ts";
import { RunId } from "../../shared/contracts/ids.ts";
import { JsonRecord } from "../../shared/contracts/json.ts";
import { RunError, RunStatus } from "../../shared/contracts/run.ts";
import type { Principal } from "../../shared/contracts/tenant.ts";
import { AppError } from "../../shared/errors.ts";
import { pathOfWait, stepOfPath } from "../../shared/journal/track.ts";
import { readRun } from "../../shared/store/runs/read-runs.ts";
import type { OpenBudgetWait } from "../../shared/store/money/budget-waits.ts";
import type { RunRow } from "../../shared/store/runs/read-runs.ts";
import type { Sql } from "../../shared/store/sql.ts";
import type { Question } from "../../shared/store/runs/answer-wait.ts";
import { isoTime } from "../http/time.ts";

const time = z.iso.datetime().nullable();

/** What a run, or a branch of it, waits for. */
const Waiting = z.discriminatedUnion("reason", [
  z.object({ reason: z.literal("retry"), until: z.iso.datetime() }),
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
  }),
  z.object({
    reason: z.literal("budget"),
    budget_id: z.string(),
    step_id: z.string(),
    path: z.string(),
    sentence: z.string(),
    since: z.iso.datetime(),
    /** When the run tries again by itself; null: another part of it moves. */
    until: time,
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
    /** A provider did not report the tokens of a call: its part of both totals is estimated. */
    usage_estimated: z.boolean(),
    started_at: time,
    ended_at: time,
    queued_at: z.iso.datetime(),
    tenant_id: z.string(),
    triggered_by: z.string(),
    correlation_id: z.string(),
    session_id: z.string().nullable(),
    /** As the client gave it. */
    metadata: JsonRecord,
    attempt: z.number().int(),
    step_count: z.number().int(),
    definition_version: z.number().int(),
    error: RunError.nullable(),
    /** The first of `waits`. */
    waiting: Waiting.nullable(),
    /** The open questions and then the waits for budgets, the oldest first, 100 of each at most; or the time of the next try. */
    waits: z.array(Waiting),
  })
  .meta({ id: "Run" });
export type RunView = z.infer<typeof RunView>;

/**
 * @param questions the open questions of the run
 * @param budgets its open waits for budgets
 */
export function viewOf(
  row: RunRow,
  questions: readonly Question[] = [],
  budgets: readonly OpenBudgetWait[] = [],
): RunView {
  const waits = waitsOf(row, questions, budgets);
  return {
    run_id: row.run_id,
    orchestration_id: row.orchestration_id,
    status: row.status,
    current_step_id: row.current_step_id === null ? null : stepOfPath(row.current_step_id),
    current_step_path: row.current_step_id,
    waiting_for_human: questions.length > 0,
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
 * A run that has started (attempt 1 or more) and is queued for a later time waits to try a step once more. While a
 * question is open this is not shown, because the run may wake for another reason too.
 */
function waitsOf(
  row: RunRow,
  questions: readonly Question[],
  budgets: readonly OpenBudgetWait[],
): RunView["waits"] {
  if (questions.length + budgets.length > 0) {
    return [...questions.map(waitOf), ...budgets.map((wait) => budgetWaitOf(wait, row))];
  }
  const until = isoTime(row.wake_at_ms);
  if (row.status !== "queued" || row.attempt === 0 || until === null || (row.due_in_ms ?? 0) <= 0) return [];
  return [{ reason: "retry", until }];
}

function waitOf(question: Question): RunView["waits"][number] {
  const { wait_id, step_id, prompt, fields, opened_at_ms, deadline_at_ms } = question;
  const asked_at = isoTime(opened_at_ms);
  const expires_at = isoTime(deadline_at_ms);
  const path = pathOfWait(question);
  return { reason: "human", question_id: wait_id, step_id, path, prompt, fields, asked_at, expires_at };
}

function budgetWaitOf(wait: OpenBudgetWait, row: RunRow): RunView["waits"][number] {
  const { step_id, sentence, fields, opened_at_ms } = wait;
  const until = row.status === "paused" ? isoTime(row.wake_at_ms) : null;
  const since = isoTime(opened_at_ms);
  return {
    reason: "budget",
    budget_id: fields.budget_id,
    step_id,
    path: pathOfWait(wait),
    sentence,
    since,
    until,
  };
}

/** The response for a run that has been queued, by a start or a retry. */
export const RunAccepted = z
  .object({ run_id: RunId, status: z.literal("queued"), stream_url: z.string(), status_url: z.string() })
  .meta({ id: "RunAccepted" });
export type RunAccepted = z.infer<typeof RunAccepted>;

export function acceptedOf(run_id: RunId): RunAccepted {
  const url = `/api/v2/orchestrations/runs/${run_id}`;
  return { run_id, status: "queued", stream_url: `${url}/stream`, status_url: `${url}/status` };
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
