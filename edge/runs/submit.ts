import type { RunId } from "../../shared/contracts/ids.ts";
import type { NewRun, Refusal, SubmitResult } from "../../shared/contracts/run.ts";
import { log, messageOf } from "../../shared/log.ts";
import { scoreOf } from "../../shared/queue/job.ts";
import { readOrchestration } from "../../shared/store/definitions/orchestrations.ts";
import { isDataError, isNotCommitted } from "../../shared/store/unreachable.ts";
import { toAppError } from "../http/problem.ts";
import { acceptAdmitted } from "./accept.ts";
import type { Acceptance, Accepted } from "./accept.ts";
import { admit, refusedByPostgres } from "./admit.ts";
import type { AdmitDeps, Admission } from "./admit.ts";
import { findEarlier } from "./earlier-result.ts";

export type SubmitDeps = AdmitDeps & {
  /** Keeps the process alive until the work has ended, also after the results are returned. */
  waitUntil(work: Promise<unknown>): void;
};

type Admissions = ReadonlyMap<RunId, Admission>;

/** After this time a failed enqueue is tried once more; after that the reconciler enqueues the runs. */
const ENQUEUE_RETRY_MS = 3_000;

/**
 * Submits runs. The results are in the order of the runs. No run fails for another: what concerns one of them (a value
 * that cannot be stored, a look-up that fails) is the result of that run alone, and a committed run is `accepted`
 * whatever becomes of the others.
 */
export async function submit(deps: SubmitDeps, runs: readonly NewRun[]): Promise<SubmitResult[]> {
  try {
    return await submitBatch(deps, runs);
  } catch (error) {
    const failed = failedBy(error);
    return runs.map(() => failed);
  }
}

/**
 * Accepts runs in this order (docs/protocol.md 5.1): the queue reserves a place for each run or refuses it, one
 * statement commits the admitted runs, and only after the commit the queue gets their jobs, because a worker may claim
 * a job the instant it is queued. While the queue cannot be reached, Postgres checks the quota (unless
 * ACCEPT_WHEN_REDIS_DOWN is 0: then the runs are refused), and the reconciler enqueues the runs later.
 *
 * @throws only before the commit
 */
async function submitBatch(deps: SubmitDeps, runs: readonly NewRun[]): Promise<SubmitResult[]> {
  const admissions = await admit(deps, runs);
  const { accepted, failed } = await acceptAdmitted(deps, runs, admissions);
  const unused = runs.filter(
    ({ run_id }) =>
      admissions.get(run_id)?.reserved && !accepted.has(run_id) && !isOutcomeUnknown(failed.get(run_id)),
  );
  // Before the look-ups, which may fail or take long. What is lost here, the reconciler repairs; reservations lapse.
  deps.waitUntil(updateQueue(deps, runs, accepted, unused).catch(logNotEnqueued));
  return Promise.all(
    runs.map((run) => resultOf(deps, run, { admissions, accepted, failed }).catch(failedBy)),
  );
}

/** A run may be committed although its statement failed. Then its reservation stays, and lapses. */
function isOutcomeUnknown(error: unknown): boolean {
  return error !== undefined && !isNotCommitted(error);
}

async function resultOf(
  deps: SubmitDeps,
  run: NewRun,
  { admissions, accepted, failed }: Acceptance & { admissions: Admissions },
): Promise<SubmitResult> {
  if (accepted.has(run.run_id)) return { is: "accepted", run_id: run.run_id, replayed: false };
  const error = failed.get(run.run_id);
  if (error !== undefined) return failedBy(error);
  const admission = admissions.get(run.run_id);
  if (!admission) throw new Error(`no admission for ${run.run_id}`);
  if (admission.is === "refused") return { is: "refused", ...admission.refusal };
  const earlier = await findEarlier(deps, run);
  if (earlier) return earlier;
  if (admission.is === "full") return { is: "refused", ...admission.refusal };
  return { is: "refused", ...(await whyNotCommitted(deps, run, admission.quotaCheckedBy)) };
}

/** The result of a run whose submission failed. A committed run never gets it. */
function failedBy(error: unknown): SubmitResult {
  if (isDataError(error)) log.warn("submit.run_not_storable", { error: messageOf(error) });
  const { code, message, retryAfterSeconds } = toAppError(error);
  if (code === "internal") log.error("submit.failed", { error: stackOf(error) });
  return {
    is: "refused",
    code,
    detail: message,
    ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
  };
}

/** Why the statement did not commit an admitted run: it has no definition, or there is no room by the count of Postgres. */
async function whyNotCommitted(
  deps: SubmitDeps,
  run: NewRun,
  quotaCheckedBy: "queue" | "postgres",
): Promise<Refusal> {
  const unknown: Refusal = {
    code: "not_found",
    detail: `There is no orchestration ${run.orchestration_id}.`,
  };
  if (quotaCheckedBy === "queue") return unknown;
  const { tenant_id, orchestration_id } = run;
  const definition = await deps.query((sql) => readOrchestration(sql, tenant_id, orchestration_id));
  return definition === null ? unknown : refusedByPostgres(deps, tenant_id);
}

/** Makes the jobs of accepted runs ready, and returns the unused reservations of the others. */
async function updateQueue(
  { queue }: SubmitDeps,
  runs: readonly NewRun[],
  accepted: Accepted,
  unused: readonly NewRun[],
): Promise<void> {
  const jobs = runs.flatMap((run) => {
    const row = accepted.get(run.run_id);
    return row ? [jobOf(run, row.queued_at_ms)] : [];
  });
  const names = unused.map((run) => ({ run: run.run_id, tenant: run.tenant_id }));
  const update = () => Promise.all([queue.enqueue(jobs), queue.finish(names, "")]);
  try {
    await update();
  } catch {
    await new Promise((resolve) => setTimeout(resolve, ENQUEUE_RETRY_MS));
    await update();
  }
}

function jobOf(run: NewRun, queuedAtMs: number) {
  return {
    run: run.run_id,
    tenant: run.tenant_id,
    lane: run.lane,
    score: scoreOf(queuedAtMs, run.priority),
    status: "queued" as const,
    delayMs: run.delay_ms,
  };
}

function logNotEnqueued(error: unknown): void {
  log.info("submit.not_enqueued", { error: messageOf(error) });
}

function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
