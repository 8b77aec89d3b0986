import {
  branchOfSteps,
  isFork,
  outermostOf,
  parseOrchestration,
} from "../../shared/contracts/definition/index.ts";
import type { RunId, TenantId } from "../../shared/contracts/ids.ts";
import { TERMINAL } from "../../shared/contracts/run.ts";
import type { Refusal } from "../../shared/contracts/run.ts";
import { AppError } from "../../shared/errors.ts";
import { writeLine } from "../../shared/events/lines.ts";
import { retryPlace } from "../../shared/journal/rewind.ts";
import { log, messageOf } from "../../shared/log.ts";
import { jobOf } from "../../shared/queue/job.ts";
import { readPinnedDefinition } from "../../shared/store/definitions/orchestrations.ts";
import { pagesOf } from "../../shared/store/journal/read-journal.ts";
import { readRetriableRun, retryRun } from "../../shared/store/runs/requeue-for-retry.ts";
import type { RetriableRun } from "../../shared/store/runs/requeue-for-retry.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { publish } from "../clients/publish.ts";
import { refusedError } from "../http/problem.ts";
import type { Services } from "../services.ts";
import { admit, refusedByPostgres } from "./admit.ts";
import type { AdmitDeps } from "./admit.ts";
import { restoreJournal } from "./run-journal.ts";
import { noRun } from "./run-view.ts";

/**
 * Queues a failed or cancelled run again: docs/protocol.md 5.8. The run has to pass the same limits as a new run. It keeps all
 * results, or with `fromStep` the results before that step's latest visit. Its events continue the same log. The journal of an
 * archived run is brought back to Postgres first.
 *
 * @param letter the unresolved dead letter for which the run is retried, by its number; null: for none
 * @throws AppError `not_found`; `run_not_finished`; `run_finished` for a run that completed; `conflict` when another
 *   request was first; `invalid` for a step that the run cannot go back to; `artifacts_away`; the refusals of `admit`
 */
export async function retry(
  services: Services,
  tenant: TenantId | null,
  runId: RunId,
  fromStep: string | null,
  letter: number | null = null,
): Promise<void> {
  const { sql, queue, config, waitUntil } = services;
  const run = await readRetriableRun(sql, tenant, runId);
  if (!run) throw noRun();
  requireRetriable(run);
  await restoreJournal(services, runId);
  const keep_seq = fromStep === null ? run.event_seq : await keepUntil(sql, run, fromStep);

  const admitDeps: AdmitDeps = { config, queue, query: (use) => use(sql) };
  const admission = (await admit(admitDeps, [run])).get(runId);
  if (!admission) throw new Error(`no admission for ${runId}`);
  if (admission.is !== "admitted") throw refusedError(admission.refusal);
  const { quotaCheckedBy, reserved } = admission;
  if (quotaCheckedBy === "postgres" && !reserved) await queue.invalidateCountsOf([run.tenant_id]);
  const event = writeLine({ type: "run_retried", from_step_id: fromStep }, new Date(), run.correlation_id);
  const rewind = { ...run, known_seq: run.event_seq, output: JSON.stringify({ keep_seq }), event, letter };
  const queued = await retryRun(sql, rewind, quotaCheckedBy);
  if (!queued) {
    // The reservation stays: it belongs to the run, so the request that was first may need it. An unused reservation lapses.
    const refusal = quotaCheckedBy === "postgres" ? await quotaRefusal(sql, run, admitDeps) : null;
    throw refusal
      ? refusedError(refusal)
      : new AppError(
          "conflict",
          `Another request retried the run first${letter === null ? "" : ", or dismissed its dead letter"}.`,
        );
  }

  const name = jobOf({ ...run, queued_at_ms: queued.queued_at_ms });
  const job = { ...name, status: "queued" as const, delayMs: 0 };
  const entry = { run: runId, seq: queued.event_seq, events_n: 1, events: event, last: false };
  waitUntil(Promise.all([queue.enqueue([job]), publish(config, [entry])]).catch(logNotEnqueued));
}

/** @throws AppError that says why a run cannot be retried */
function requireRetriable({ status, chat_session }: RetriableRun): void {
  // A later turn may have begun, and the turns of a session run one after the other.
  if (chat_session !== null && TERMINAL.has(status)) {
    throw new AppError("run_finished", "A chat turn is not retried: send its message again.");
  }
  if (status === "failed" || status === "cancelled") return;
  if (status === "completed")
    throw new AppError("run_finished", "The run completed; there is nothing to retry.");
  throw new AppError(
    "run_not_finished",
    `The run is ${status}; only a run that failed or was cancelled can be retried.`,
  );
}

/**
 * The `seq` up to which a retry from `step` keeps the journal: all of it when `step` is the next step anyway.
 * @throws AppError `invalid` for a step that the run cannot go back to
 */
async function keepUntil(sql: Sql, run: RetriableRun, step: string): Promise<number> {
  const { run_id, definition_tenant, orchestration_id, definition_version, event_seq } = run;
  const text = await readPinnedDefinition(sql, definition_tenant, orchestration_id, definition_version);
  const parsed = parseOrchestration(JSON.parse(text ?? "null"));
  const steps = parsed.ok ? parsed.definition.steps : [];
  const branches = branchOfSteps(steps);
  const outermost = outermostOf(step, branches);
  const place = await retryPlace(pagesOf(sql, run_id, event_seq), outermost);
  const next = place.next ?? (parsed.ok ? parsed.definition.entry_step_id : undefined);
  // When the run is inside this parallel or loop step, the step begins anew with all its tracks, also those that have ended.
  if (outermost === next && steps.some((each) => each.id === outermost && isFork(each))) return place.lastSeq;
  if (place.keepSeq !== null) return place.keepSeq;
  if (step === next) return event_seq;
  const known = steps.some(({ id }) => id === step);
  const message = known
    ? "has no result in this run to go back to"
    : "is no step of the version that this run is pinned to";
  throw new AppError("invalid", `Not valid: from_step_id ${message}.`, {
    fields: [{ path: "from_step_id", message }],
  });
}

/** The refusal of a retry for which Postgres found no room; null: the run has changed, so another request was first. */
async function quotaRefusal(sql: Sql, run: RetriableRun, deps: AdmitDeps): Promise<Refusal | null> {
  const current = await readRetriableRun(sql, run.tenant_id, run.run_id);
  const unchanged = current?.status === run.status && current.event_seq === run.event_seq;
  return unchanged ? refusedByPostgres(deps, run.tenant_id) : null;
}

/** Logs a failed enqueue. The run is committed as queued: the reconciler enqueues its job, and the relay reads its event. */
function logNotEnqueued(error: unknown): void {
  log.info("retry.not_enqueued", { error: messageOf(error) });
}
