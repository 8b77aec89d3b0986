/** The statements of the edge on the model of Postgres, with the conditions of those in shared/store. */
import type { RunId, TenantId } from "../../shared/contracts/ids.ts";
import type { NewRun } from "../../shared/contracts/run.ts";
import type { CancelEnd, CancelledRun } from "../../shared/store/runs/mark-cancelled.ts";
import type { RewindEntry } from "../../shared/store/runs/requeue-for-retry.ts";
import type { AnswerOutcome } from "../../shared/store/runs/answer-wait.ts";
import type { PostgresModel } from "./postgres-model.ts";
import { notifyFamily } from "./family-model.ts";
import { checkRow } from "./tables.ts";
import type { RunRow, TenantRow } from "./tables.ts";

/** The number of further queued runs that a tenant's quota allows. */
export function roomOf(postgres: PostgresModel, tenant: TenantId): number {
  const row = postgres.tables.tenants.get(tenant);
  if (!row || row.max_concurrent_runs === 0) return 0;
  return row.max_queued_runs - postgres.countOf(tenant, "queued");
}

/** @param startedAt when the statement began: its now(). @returns false when the quota is used up */
export function acceptRun(
  postgres: PostgresModel,
  run: NewRun,
  counted: "queue" | "postgres",
  startedAt = postgres.now,
): boolean {
  if (postgres.tables.runs.has(run.run_id)) throw new Error("the primary key of runs is taken");
  if (counted === "postgres" && roomOf(postgres, run.tenant_id) <= 0) return false;
  const { run_id, tenant_id, orchestration_id, lane, priority, correlation_id, input, delay_ms } = run;
  const row: RunRow = {
    run_id,
    tenant_id,
    orchestration_id,
    lane,
    priority,
    correlation_id,
    input,
    status: "queued",
    attempt: 0,
    owner: null,
    wake_at: startedAt + delay_ms,
    deadline_at: null,
    event_seq: 0,
    signals: 0,
    crash_count: 0,
    cancel_requested_at: null,
    queued_at: startedAt,
    started_at: null,
    paused_at: null,
    paused_for: 0,
    ended_at: null,
    tokens: 0,
    cost_micro_usd: 0,
    step_count: 0,
    journal_bytes: 0,
    error: null,
  };
  checkRow(row);
  postgres.tables.runs.set(run_id, row);
  return true;
}

export function cancelRuns(
  { tables, now }: PostgresModel,
  running: readonly RunId[],
  ends: readonly CancelEnd[],
  large: readonly RunId[] = [],
): CancelledRun[] {
  const marked = [...running, ...large].flatMap((run): CancelledRun[] => {
    const row = tables.runs.get(run);
    const isRunning = row?.status === "running";
    if (!row || row.ended_at !== null || isRunning !== running.includes(run)) return [];
    Object.assign(row, { cancel_requested_at: row.cancel_requested_at ?? now, signals: row.signals + 1 });
    if (!isRunning) Object.assign(row, { status: "queued", wake_at: now });
    const status = isRunning ? ("running" as const) : ("queued" as const);
    return [{ run_id: run, status, owner: row.owner, event_seq: row.event_seq, notified: null }];
  });
  const ended = ends.flatMap(({ run_id, known_seq, events, events_n, output }): CancelledRun[] => {
    const row = tables.runs.get(run_id);
    if (!row || (row.status !== "queued" && row.status !== "paused") || row.event_seq !== known_seq)
      return [];
    Object.assign(row, {
      status: "cancelled",
      ended_at: now,
      wake_at: null,
      cancel_requested_at: row.cancel_requested_at ?? now,
      event_seq: known_seq + events_n,
    });
    checkRow(row);
    const { event_seq, attempt } = row;
    const entry = { kind: "end" as const, step_path: null, visit: null, output, events, events_n };
    tables.write({ ...entry, run_id, seq: event_seq, attempt });
    const relatives = notifyFamily({ tables, now }, row, output);
    const notified = relatives.length === 0 ? null : relatives;
    return [{ run_id, status: "cancelled", owner: null, event_seq, notified }];
  });
  return [...marked, ...ended];
}

export function retryRun(
  postgres: PostgresModel,
  { run_id, known_seq, output, event }: RewindEntry,
  counted: "queue" | "postgres",
): { queued_at_ms: number; event_seq: number } | null {
  const { tables, now } = postgres;
  const row = tables.runs.get(run_id);
  if (!row || (row.status !== "failed" && row.status !== "cancelled") || row.event_seq !== known_seq)
    return null;
  if (counted === "postgres" && roomOf(postgres, row.tenant_id) <= 0) return null;
  Object.assign(row, {
    status: "queued",
    wake_at: now,
    queued_at: now,
    started_at: null,
    paused_at: null,
    paused_for: 0,
    ended_at: null,
    error: null,
    crash_count: 0,
    cancel_requested_at: null,
    event_seq: known_seq + 1,
  });
  checkRow(row);
  const entry = { kind: "rewind" as const, step_path: null, visit: null, output, events: event, events_n: 1 };
  tables.write({ ...entry, run_id, seq: row.event_seq, attempt: row.attempt });
  for (const wait of tables.waitsOf(run_id)) wait.answered_by ??= "retry";
  for (const letter of tables.letters) if (letter.run_id === run_id) letter.resolved = true;
  return { queued_at_ms: now, event_seq: row.event_seq };
}

/** Answers a question of a run. @returns the outcome */
export function answerWait(
  { tables, now }: PostgresModel,
  run: RunId,
  waitId: string,
  answer: string,
  answeredBy: string,
): AnswerOutcome {
  const row = tables.runs.get(run);
  const wait = tables.waitsOf(run).find(({ wait_id }) => wait_id === waitId);
  if (!row || !wait) return { is: "unknown" };
  if (wait.answered_by !== null) {
    const { answer: stored, answered_by } = wait;
    return { is: "taken", by: answered_by, person: null, answer: stored, votes: [], fields: [] };
  }
  if (row.ended_at !== null) return { is: "ended" };
  Object.assign(wait, { answer, answered_by: answeredBy });
  row.signals += 1;
  if (row.status !== "running") Object.assign(row, { status: "queued", wake_at: now });
  checkRow(row);
  const { run_id, tenant_id, owner, lane, priority, queued_at } = row;
  const status = row.status === "running" ? "running" : "queued";
  return {
    is: "answered",
    run: { run_id, tenant_id, status, owner, lane, priority, queued_at_ms: queued_at },
  };
}

export function saveTenant(
  { tables, now }: PostgresModel,
  tenant_id: TenantId,
  limits: Pick<TenantRow, "max_concurrent_runs" | "max_queued_runs">,
): TenantRow {
  const version = (tables.tenants.get(tenant_id)?.version ?? 0) + 1;
  const row = { tenant_id, ...limits, version, updated_at: now };
  tables.tenants.set(tenant_id, row);
  return row;
}
