import type { RunId, TenantId } from "../../shared/contracts/ids.ts";
import type { NewRun, Refusal, SubmitResult } from "../../shared/contracts/run.ts";
import { log, messageOf } from "../../shared/log.ts";
import { scoreOf } from "../../shared/queue/job.ts";
import { readOrchestration } from "../../shared/store/definitions/orchestrations.ts";
import { acceptRuns, findIdempotent } from "../../shared/store/runs/accept-runs.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { ensureTenant } from "../../shared/store/tenants/tenant-rows.ts";
import { toAppError } from "../http/problem.ts";
import { admit, refusedByPostgres } from "./admit.ts";
import type { AdmitDeps, Admission } from "./admit.ts";

export type SubmitDeps = AdmitDeps & {
  /** Keeps the process alive until the work has ended, also after the results are returned. */
  waitUntil(work: Promise<unknown>): void;
};

type Admissions = ReadonlyMap<RunId, Admission>;
type Accepted = Awaited<ReturnType<typeof acceptRuns>>;

/** After this time a failed enqueue is tried once more; after that the reconciler enqueues the runs. */
const ENQUEUE_RETRY_MS = 3_000;

/** Submits runs. The results are in the order of the runs; a failure is a `refused` result for all of them. */
export async function submit(deps: SubmitDeps, runs: readonly NewRun[]): Promise<SubmitResult[]> {
  try {
    return await submitBatch(deps, runs);
  } catch (error) {
    const { code, message, retryAfterSeconds } = toAppError(error);
    if (code === "internal") log.error("submit.failed", { error: stackOf(error) });
    const failed: SubmitResult = {
      is: "refused",
      code,
      detail: message,
      ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
    };
    return runs.map(() => failed);
  }
}

/**
 * Accepts runs in this order (docs/protocol.md 5.1): the queue reserves a place for each run or refuses it, one
 * statement commits the admitted runs, and only after the commit the queue gets their jobs, because a worker may claim
 * a job the instant it is queued. While the queue cannot be reached, Postgres checks the quota (unless
 * ACCEPT_WHEN_REDIS_DOWN is 0: then the runs are refused), and the reconciler enqueues the runs later.
 *
 * When Postgres is unreachable this throws, and the reservations stay: it is unknown whether the runs exist.
 */
async function submitBatch(deps: SubmitDeps, runs: readonly NewRun[]): Promise<SubmitResult[]> {
  const admissions = await admit(deps, runs);
  const accepted = await acceptAdmitted(deps, runs, admissions);
  const results = await Promise.all(runs.map((run) => resultOf(deps, run, admissions, accepted)));
  const unused = runs.filter((run) => admissions.get(run.run_id)?.reserved && !accepted.has(run.run_id));
  // After the results: no result depends on it. If it fails, the reconciler enqueues the jobs, and reservations lapse.
  deps.waitUntil(updateQueue(deps, runs, accepted, unused).catch(logNotEnqueued));
  return results;
}

async function acceptAdmitted(
  deps: SubmitDeps,
  runs: readonly NewRun[],
  admissions: Admissions,
): Promise<Accepted> {
  // One statement can insert an idempotency key only once. A second run with the same key gets the result of the first.
  const admitted = firstOfEachKey(runs.filter((run) => admissions.get(run.run_id)?.is === "admitted"));
  const checkedBy = (store: "queue" | "postgres") =>
    admitted.filter((run) => {
      const admission = admissions.get(run.run_id);
      return admission?.is === "admitted" && admission.quotaCheckedBy === store;
    });
  const byQueue = checkedBy("queue");
  return new Map([
    ...(byQueue.length > 0 ? await deps.query((sql) => acceptRuns(sql, byQueue)) : []),
    ...(await acceptWithinQuota(deps, checkedBy("postgres"), admissions)),
  ]);
}

/** Commits as many of these runs as their tenants' queues have room for, by the count of Postgres. */
async function acceptWithinQuota(
  { config, queue, query }: SubmitDeps,
  runs: readonly NewRun[],
  admissions: Admissions,
): Promise<Accepted> {
  if (runs.length === 0) return new Map();
  // For a tenant without a row, `queue_room` returns 0.
  for (const tenant of new Set<TenantId>(runs.map((run) => run.tenant_id))) {
    await query((sql) => ensureTenant(sql, tenant, config.RATE_LIMIT_PER_TENANT_RPS));
  }
  const unreserved = runs.filter((run) => !admissions.get(run.run_id)?.reserved);
  queue.invalidateCountsOf(unreserved.map((run) => run.tenant_id));
  return query((sql) => acceptRuns(sql, runs, "postgres"));
}

async function resultOf(
  deps: SubmitDeps,
  run: NewRun,
  admissions: Admissions,
  accepted: Accepted,
): Promise<SubmitResult> {
  if (accepted.has(run.run_id)) return { is: "accepted", run_id: run.run_id, replayed: false };
  const admission = admissions.get(run.run_id);
  if (!admission) throw new Error(`no admission for ${run.run_id}`);
  if (admission.is === "refused") return { is: "refused", ...admission.refusal };
  const earlier = await deps.query((sql) => earlierResult(sql, run));
  if (earlier) return earlier;
  if (admission.is === "full") return { is: "refused", ...admission.refusal };
  return { is: "refused", ...(await whyNotCommitted(deps, run, admission.quotaCheckedBy)) };
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

function firstOfEachKey(runs: readonly NewRun[]): NewRun[] {
  const seen = new Set<string>();
  return runs.filter((run) => {
    if (run.idempotency_key === null) return true;
    const key = `${run.tenant_id}\0${run.idempotency_key}`;
    return !seen.has(key) && seen.add(key);
  });
}

/** The result that an earlier request got under the same Idempotency-Key, if there was one. */
async function earlierResult(sql: Sql, run: NewRun): Promise<SubmitResult | null> {
  if (run.idempotency_key === null) return null;
  const earlier = await findIdempotent(sql, run.tenant_id, run.idempotency_key);
  if (!earlier) return null;
  if (earlier.request_hash === run.request_hash) {
    return { is: "accepted", run_id: earlier.run_id, replayed: true };
  }
  const detail = "This Idempotency-Key was used with another request; use a new one for a new request.";
  return { is: "refused", code: "idempotency_conflict", detail };
}

function logNotEnqueued(error: unknown): void {
  log.info("submit.not_enqueued", { error: messageOf(error) });
}

function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
