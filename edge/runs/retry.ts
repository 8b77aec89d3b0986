import { parseOrchestration } from "../../shared/contracts/definition/index.ts";
import type { RunId, TenantId } from "../../shared/contracts/ids.ts";
import type { RunStatus } from "../../shared/contracts/run.ts";
import { AppError } from "../../shared/errors.ts";
import { writeLine } from "../../shared/events/lines.ts";
import { fold } from "../../shared/journal/fold.ts";
import { keepBefore } from "../../shared/journal/rewind.ts";
import { scoreOf } from "../../shared/queue/job.ts";
import { readPinned } from "../../shared/store/runs/claim.ts";
import { readStored } from "../../shared/store/journal/read-journal.ts";
import { readRetriable, retryRun } from "../../shared/store/runs/retry.ts";
import type { Retriable } from "../../shared/store/runs/retry.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { admit, refusedByDatabase } from "./admit.ts";
import type { Refusal } from "./admit.ts";
import { log } from "../log.ts";
import { noRun } from "./run-view.ts";
import type { Services } from "../services.ts";
import { publish } from "../clients/publish.ts";

/**
 * Lets a failed or cancelled run go on: docs/protocol.md 5.8. It passes the same limits as a new one, keeps all results
 * (with `fromStep`: those before that step's latest visit), and its events go on in the same log.
 * @throws AppError `not_found`; `run_not_finished`, `run_finished` (it completed) or `conflict` (somebody else was
 * first); `invalid` for a step that it cannot go back to; what `admit` refuses
 */
export async function retry(
  services: Services,
  tenant: TenantId | null,
  runId: RunId,
  fromStep: string | null,
): Promise<void> {
  const { sql, queue, config, after } = services;
  const run = await readRetriable(sql, tenant, runId);
  if (!run) throw noRun();
  requireRetriable(run.status);
  const keep_seq = fromStep === null ? run.event_seq : await keepUntil(sql, run, fromStep);

  const place = (await admit(services, [run])).get(runId);
  if (!place?.ok) throw refused(place);
  const event = writeLine({ type: "run_retried", from_step_id: fromStep }, new Date(), run.correlation_id);
  const rewind = { ...run, known_seq: run.event_seq, output: JSON.stringify({ keep_seq }), event };
  if (place.counted === "here" && !place.kept) queue.missed([run.tenant_id]);
  const queued = await retryRun(sql, rewind, place.counted);
  // The place is not given back: its name is the run's, and whoever was first needs it. Unused, it lapses.
  if (!queued) throw await lost(services, run, place.counted);

  const score = scoreOf(queued.queued_at_ms, run.priority);
  const job = {
    run: runId,
    tenant: run.tenant_id,
    lane: run.lane,
    score,
    status: "queued" as const,
    delayMs: 0,
  };
  const entry = { run: runId, seq: queued.event_seq, events_n: 1, events: event, last: false };
  after(Promise.all([queue.enqueue([job]), publish(config, [entry])]).catch(logUntold));
}

/** @throws AppError that says why a run in this status cannot be retried */
function requireRetriable(status: RunStatus): void {
  if (status === "failed" || status === "cancelled") return;
  if (status === "completed")
    throw new AppError("run_finished", "The run completed; there is nothing to retry.");
  throw new AppError(
    "run_not_finished",
    `The run is ${status}; only one that failed or was cancelled is retried.`,
  );
}

/** How much of the journal a retry from `step` keeps. The step that is next anyway needs no going back. */
async function keepUntil(sql: Sql, run: Retriable, step: string): Promise<number> {
  const { run_id, definition_tenant, orchestration_id, definition_version, event_seq } = run;
  const [journals, text] = await Promise.all([
    readStored(sql, [run_id]),
    readPinned(sql, definition_tenant, orchestration_id, definition_version),
  ]);
  const entries = journals.get(run_id) ?? [];
  const kept = keepBefore(entries, step);
  if (kept !== null) return kept;
  const parsed = parseOrchestration(JSON.parse(text ?? "null"));
  const next = fold({}, entries).next ?? (parsed.ok ? parsed.definition.entry_step_id : undefined);
  if (step === next) return event_seq;
  const known = parsed.ok && parsed.definition.steps.some(({ id }) => id === step);
  const message = known
    ? "has no result in this run to go back to"
    : "is no step of the version that this run is pinned to";
  throw new AppError("invalid", `Not valid: from_step_id ${message}.`, {
    fields: [{ path: "from_step_id", message }],
  });
}

/** Why nothing was retried: no room, by the database's own count, or somebody else was first. */
async function lost(services: Services, run: Retriable, counted: "here" | "by_queue"): Promise<AppError> {
  const now = await readRetriable(services.sql, run.tenant_id, run.run_id);
  const unchanged = now?.status === run.status && now.event_seq === run.event_seq;
  if (counted === "here" && unchanged) return refused(await refusedByDatabase(services, run.tenant_id));
  return new AppError("conflict", "The run was retried by somebody else at the same moment.");
}

function refused(refusal: Refusal | undefined): AppError {
  if (!refusal) return new AppError("internal", "The run was neither let in nor refused.");
  const { code, detail, retryAfterSeconds } = refusal;
  return new AppError(code, detail, retryAfterSeconds === undefined ? {} : { retryAfterSeconds });
}

/** The run is queued: what the queue was not told now, the reconciler tells it. */
function logUntold(error: unknown): void {
  log.info("retry.not_told", { error: error instanceof Error ? error.message : "unknown" });
}
