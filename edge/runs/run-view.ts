import { z } from "zod";
import { FormField } from "../../shared/contracts/definition/human.ts";
import { RunId } from "../../shared/contracts/ids.ts";
import { JsonRecord } from "../../shared/contracts/json.ts";
import { RunError, RunStatus, TERMINAL } from "../../shared/contracts/run.ts";
import type { Principal } from "../../shared/contracts/tenant.ts";
import { AppError } from "../../shared/errors.ts";
import { pathOfWait, stepOfPath } from "../../shared/journal/track.ts";
import { listChildren, readRun } from "../../shared/store/runs/read-runs.ts";
import type { ChildRow, RunRow } from "../../shared/store/runs/read-runs.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { listOpenQuestions } from "../../shared/store/runs/answer-wait.ts";
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
  /** The end of a run that this one has started. */
  z.object({
    reason: z.literal("child"),
    run_id: RunId,
    orchestration_id: z.string(),
    step_id: z.string(),
    path: z.string(),
  }),
]);

/** A run that a step has started. */
const Child = z.object({
  run_id: RunId,
  orchestration_id: z.string(),
  /** The step of this run, and where it is: `fanout[1].research` in a branch or a loop, elsewhere its id. */
  step_id: z.string(),
  path: z.string(),
  status: RunStatus,
});

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
    session_id: z.string().nullable(),
    /** As the client gave it. */
    metadata: JsonRecord,
    attempt: z.number().int(),
    step_count: z.number().int(),
    definition_version: z.number().int(),
    error: RunError.nullable(),
    /** The first of `waits`. */
    waiting: Waiting.nullable(),
    /** The open questions, the oldest first, 100 at most, and the children that it waits for; or the time of the next try. */
    waits: z.array(Waiting),
    /** The run that has started this one. */
    parent_run_id: RunId.nullable(),
    /** The runs that this one has started, the oldest first. */
    children: z.array(Child),
  })
  .meta({ id: "Run" });
export type RunView = z.infer<typeof RunView>;

/** What a run waits for, and what it has started. */
type Related = { questions: readonly Question[]; children: readonly ChildRow[] };

/** The open questions of a run, and its children. */
export async function readRelated(sql: Sql, { run_id, asks, has_children }: RunRow): Promise<Related> {
  const [questions, children] = await Promise.all([
    // A question in a branch may be open while other branches move.
    asks ? listOpenQuestions(sql, run_id) : [],
    has_children ? listChildren(sql, run_id) : [],
  ]);
  return { questions, children };
}

export function viewOf(row: RunRow, { questions, children }: Related): RunView {
  const waits = waitsOf(row, questions, children);
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
    parent_run_id: row.parent_run_id,
    children: children.map((child) => ({ ...childOf(child), status: child.status })),
  };
}

/**
 * A run that has started (attempt 1 or more) and is queued for a later time waits to try a step once more. While a
 * question is open this is not shown, because the run may wake for another reason too.
 */
function waitsOf(
  row: RunRow,
  questions: readonly Question[],
  children: readonly ChildRow[],
): RunView["waits"] {
  if (TERMINAL.has(row.status)) return [];
  const awaited = children.filter(({ status, wait_id }) => wait_id !== null && !TERMINAL.has(status));
  const waits = [
    ...questions.map(waitOf),
    ...awaited.map((child) => ({ reason: "child" as const, ...childOf(child) })),
  ];
  if (waits.length > 0) return waits;
  const until = isoTime(row.wake_at_ms);
  if (row.status !== "queued" || row.attempt === 0 || until === null || (row.due_in_ms ?? 0) <= 0) return [];
  return [{ reason: "retry", until }];
}

function childOf({ run_id, orchestration_id, step_path }: ChildRow) {
  return { run_id, orchestration_id, step_id: stepOfPath(step_path), path: step_path };
}

function waitOf(question: Question): RunView["waits"][number] {
  const { wait_id, step_id, prompt, fields, opened_at_ms, deadline_at_ms } = question;
  const asked_at = isoTime(opened_at_ms);
  const expires_at = isoTime(deadline_at_ms);
  const path = pathOfWait(question);
  return { reason: "human", question_id: wait_id, step_id, path, prompt, fields, asked_at, expires_at };
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
