import type { RunId } from "../../shared/contracts/ids.ts";
import type { NewRun, NewTurn, Refusal, SubmitResult } from "../../shared/contracts/run.ts";
import { log, messageOf } from "../../shared/log.ts";
import { jobOf } from "../../shared/queue/job.ts";
import { whyNotTaken } from "../../shared/store/chat/accept-turns.ts";
import { readOrchestration } from "../../shared/store/definitions/orchestrations.ts";
import { inHalves } from "../../shared/store/halves.ts";
import { acceptRuns, findAccepted, findIdempotent } from "../../shared/store/runs/accept-runs.ts";
import type { AcceptedRuns, QuotaCheckedBy } from "../../shared/store/runs/accept-runs.ts";
import {
  findSingletonHolder,
  freeSkippedKey,
  saveSkippedAnswer,
} from "../../shared/store/runs/singletons.ts";
import { ensureTenant } from "../../shared/store/tenants/tenant-rows.ts";
import { isDataError, isNotCommitted } from "../../shared/store/unreachable.ts";
import { toAppError } from "../http/problem.ts";
import { admit, refusedByPostgres } from "./admit.ts";
import type { AdmitDeps, Admission } from "./admit.ts";

export type SubmitDeps = AdmitDeps & {
  /** Keeps the process alive until the work has ended, also after the results are returned. */
  waitUntil(work: Promise<unknown>): void;
};

/** How often a run is submitted again whose singleton key was freed between its commit and the look-up of the holder. */
const MAX_RESUBMITS = 3;

type Admissions = ReadonlyMap<RunId, Admission>;

/**
 * The outcome of admitted runs: the committed runs, and the error of each run whose statement failed. A run that is in
 * neither part was not committed: its definition does not exist, its idempotency key is taken, or its tenant's queue is
 * full.
 */
type Outcome = { accepted: AcceptedRuns; failed: Map<RunId, unknown> };

/**
 * Submits runs. The results are in the order of the runs. No run fails for another: what concerns one of them (a value
 * that cannot be stored, a look-up that fails) is the result of that run alone, and a committed run is `accepted`
 * whatever becomes of the others.
 */
export async function submit(
  deps: SubmitDeps,
  runs: readonly NewRun[],
  resubmits = MAX_RESUBMITS,
): Promise<SubmitResult[]> {
  try {
    return await submitBatch(deps, runs, resubmits);
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
async function submitBatch(
  deps: SubmitDeps,
  runs: readonly NewRun[],
  resubmits: number,
): Promise<SubmitResult[]> {
  const admissions = await admit(deps, runs);
  const { accepted, failed } = await commitAdmitted(deps, runs, admissions);
  const unused = runs.filter(
    ({ run_id }) =>
      admissions.get(run_id)?.reserved && !accepted.has(run_id) && !isOutcomeUnknown(failed.get(run_id)),
  );
  // Before the look-ups, which may fail or take long. If this update is lost, the reconciler repairs the queue; reservations
  // lapse.
  deps.waitUntil(updateQueue(deps, runs, accepted, unused).catch(logNotEnqueued));
  return Promise.all(
    runs.map((run) => resultOf(deps, run, { admissions, accepted, failed, resubmits }).catch(failedBy)),
  );
}

/** A run may be committed although its statement failed. Then its reservation stays, and lapses. */
function isOutcomeUnknown(error: unknown): boolean {
  return error !== undefined && !isNotCommitted(error);
}

/** Commits the admitted ones of these runs: one statement for each of the stores that check their quota. */
async function commitAdmitted(
  deps: AdmitDeps,
  runs: readonly NewRun[],
  admissions: Admissions,
): Promise<Outcome> {
  const outcome: Outcome = { accepted: new Map(), failed: new Map() };
  // One statement takes a key once. A second run with the same key gets the result of the first.
  const admitted = firstOfEachKey(runs.filter((run) => admissions.get(run.run_id)?.is === "admitted"));
  for (const quotaCheckedBy of ["queue", "postgres"] as const) {
    const some = admitted.filter((run) => {
      const admission = admissions.get(run.run_id);
      return admission?.is === "admitted" && admission.quotaCheckedBy === quotaCheckedBy;
    });
    // One statement takes one singleton key: see acceptRuns.
    for (const group of Map.groupBy(some, singletonOf).values()) {
      await commit(deps, group, quotaCheckedBy, admissions, outcome);
    }
  }
  return outcome;
}

/** The singleton key of a run; empty: none. */
function singletonOf({ tenant_id, singleton }: NewRun): string {
  return singleton ? `${tenant_id}\0${singleton.key}` : "";
}

/** A commit whose connection broke within this time is tried once more. */
const BROKEN_WITHIN_MS = 1_000;

/**
 * Adds to `outcome`, and never throws: what is committed stays accepted, whatever fails after it. A statement whose
 * connection broke may be committed all the same, so its runs are looked up, and those that are not found are committed
 * once more: an id is committed once, however often it is tried.
 */
async function commit(
  deps: AdmitDeps,
  runs: readonly NewRun[],
  quotaCheckedBy: QuotaCheckedBy,
  admissions: Admissions,
  outcome: Outcome,
): Promise<void> {
  if (runs.length === 0) return;
  const startedMs = Date.now();
  const attempt = () => tryCommit(deps, runs, quotaCheckedBy, admissions, outcome);
  if ((await attempt()) || !(await lookUp(deps, runs, outcome))) return;
  if (Date.now() - startedMs >= BROKEN_WITHIN_MS) return;
  await attempt();
  await lookUp(deps, runs, outcome);
}

/** @returns false when the outcome of some runs is unknown: the connection was lost before the result came */
async function tryCommit(
  deps: AdmitDeps,
  runs: readonly NewRun[],
  quotaCheckedBy: QuotaCheckedBy,
  admissions: Admissions,
  { accepted, failed }: Outcome,
): Promise<boolean> {
  const remaining = runs.filter(({ run_id }) => !accepted.has(run_id));
  for (const { run_id } of remaining) failed.delete(run_id);
  try {
    if (quotaCheckedBy === "postgres") await prepareCounting(deps, runs, admissions);
    const refused = await inHalves(remaining, async (some) => {
      const rows = await deps.query((sql) => acceptRuns(sql, some, quotaCheckedBy));
      for (const [run, row] of rows) accepted.set(run, row);
    });
    for (const [{ run_id }, error] of refused.failed) failed.set(run_id, error);
    return true;
  } catch (error) {
    for (const { run_id } of remaining) if (!accepted.has(run_id)) failed.set(run_id, error);
    return isNotCommitted(error);
  }
}

/**
 * Looks up the runs whose outcome is unknown, on another connection. A run that is not found may still be committed later.
 * @returns false when the database cannot be reached: their outcome stays unknown, and the callers get the first error
 */
async function lookUp(
  { query }: AdmitDeps,
  runs: readonly NewRun[],
  { accepted, failed }: Outcome,
): Promise<boolean> {
  const unknown = runs.map(({ run_id }) => run_id).filter((run) => failed.has(run));
  if (unknown.length === 0) return true;
  try {
    for (const [run, row] of await query((sql) => findAccepted(sql, unknown))) {
      accepted.set(run, row);
      failed.delete(run);
    }
    return true;
  } catch {
    return false;
  }
}

/** A tenant without a row has no room. */
async function prepareCounting(
  { config, queue, query }: AdmitDeps,
  runs: readonly NewRun[],
  admissions: Admissions,
): Promise<void> {
  for (const tenant of new Set(runs.map((run) => run.tenant_id))) {
    await query((sql) => ensureTenant(sql, tenant, config.RATE_LIMIT_PER_TENANT_RPS));
  }
  const unreserved = runs.filter((run) => !admissions.get(run.run_id)?.reserved);
  queue.invalidateCountsOf(unreserved.map((run) => run.tenant_id));
}

function firstOfEachKey(runs: readonly NewRun[]): NewRun[] {
  const seen = new Set<string>();
  return runs.filter((run) => {
    if (run.idempotency_key === null) return true;
    const key = `${run.tenant_id}\0${run.idempotency_key}`;
    return !seen.has(key) && seen.add(key);
  });
}

/** After this time a failed enqueue is tried once more; after that the reconciler enqueues the runs. */
const ENQUEUE_RETRY_MS = 3_000;

/** Makes the jobs of accepted runs ready, and returns the unused reservations of the others. */
async function updateQueue(
  { queue }: SubmitDeps,
  runs: readonly NewRun[],
  accepted: AcceptedRuns,
  unused: readonly NewRun[],
): Promise<void> {
  const jobs = runs.flatMap((run) => {
    const row = accepted.get(run.run_id);
    if (!row) return [];
    const job = jobOf({ ...run, queued_at_ms: row.queued_at_ms });
    return [{ ...job, status: "queued" as const, delayMs: row.delay_ms }];
  });
  const names = unused.map((run) => ({ run: run.run_id, tenant: run.tenant_id }));
  const update = () => Promise.all([queue.enqueue(jobs), queue.giveBack(names)]);
  try {
    await update();
  } catch {
    await new Promise((resolve) => setTimeout(resolve, ENQUEUE_RETRY_MS));
    await update();
  }
}

async function resultOf(
  deps: SubmitDeps,
  run: NewRun,
  { admissions, accepted, failed, resubmits }: Outcome & { admissions: Admissions; resubmits: number },
): Promise<SubmitResult> {
  const row = accepted.get(run.run_id);
  if (row) {
    const admission = admissions.get(run.run_id);
    const quota = admission?.is === "admitted" ? admission.quota : undefined;
    const waits = run.turn !== undefined && row.delay_ms > 0;
    return { ...acceptedAs(run.run_id, { waits }), ...(quota && { quota }) };
  }
  const error = failed.get(run.run_id);
  if (error !== undefined) return failedBy(error);
  const admission = admissions.get(run.run_id);
  if (!admission) throw new Error(`no admission for ${run.run_id}`);
  if (admission.is === "refused") return { is: "refused", ...admission.refusal };
  const earlier = await findEarlier(deps, run, resubmits);
  if (earlier) return earlier;
  const notTaken = run.turn && (await turnRefusal(deps, run.turn, run.run_id));
  if (notTaken) return { is: "refused", ...notTaken };
  if (admission.is === "full") return { is: "refused", ...admission.refusal };
  const skipped =
    run.singleton?.policy === "skip" ? await skippedResult(deps, run, admission, resubmits) : null;
  if (skipped) return skipped;
  return { is: "refused", ...(await whyNotCommitted(deps, run, admission.quotaCheckedBy)) };
}

function acceptedAs(run_id: RunId, { replayed = false, skipped = false, waits = false } = {}): SubmitResult {
  return { is: "accepted", run_id, replayed, skipped, waits };
}

/**
 * The result of a run that was not committed and may have been skipped: the run that has its singleton key. When that run
 * has ended meanwhile, the key is free, and the run is submitted again. Null: it was not skipped.
 */
async function skippedResult(
  deps: SubmitDeps,
  run: NewRun,
  { quotaCheckedBy }: { quotaCheckedBy: QuotaCheckedBy },
  resubmits: number,
): Promise<SubmitResult | null> {
  const { run_id, tenant_id, orchestration_id, idempotency_key: key, singleton } = run;
  if (!singleton) return null;
  const definition = await deps.query((sql) => readOrchestration(sql, tenant_id, orchestration_id));
  if (definition === null) return null;
  const answer = await deps.query((sql) => findSingletonHolder(sql, tenant_id, singleton.key));
  if (answer === null) {
    if (quotaCheckedBy === "postgres") return null;
    if (key !== null) await deps.query((sql) => freeSkippedKey(sql, tenant_id, key));
    return resubmit(deps, run, resubmits);
  }
  if (key !== null)
    await deps.query((sql) => saveSkippedAnswer(sql, tenant_id, key, { run: run_id, answer }));
  return acceptedAs(answer, { skipped: true });
}

/** The runs with a singleton key end so fast that none is found when it is looked for. */
const KEY_IS_BUSY: SubmitResult = {
  is: "refused",
  code: "capacity",
  detail: "The runs with this singleton key change faster than one can be named; try again in a moment.",
  retryAfterSeconds: 1,
};

async function resubmit(deps: SubmitDeps, run: NewRun, resubmits: number): Promise<SubmitResult> {
  if (resubmits <= 0) return KEY_IS_BUSY;
  const [result = KEY_IS_BUSY] = await submit(deps, [run], resubmits - 1);
  return result;
}

/** The result that an earlier request got under the same Idempotency-Key; null: there was none. */
async function findEarlier(deps: SubmitDeps, run: NewRun, resubmits: number): Promise<SubmitResult | null> {
  const { run_id, tenant_id, idempotency_key: key, request_hash, singleton } = run;
  if (key === null) return null;
  const earlier = await deps.query((sql) => findIdempotent(sql, tenant_id, key));
  // The key of a run that was skipped names that run until the answer is recorded.
  if (!earlier || earlier.run_id === run_id) return null;
  if (earlier.request_hash === request_hash) {
    if (singleton?.policy === "skip" && (await deps.query((sql) => freeSkippedKey(sql, tenant_id, key)))) {
      return resubmit(deps, run, resubmits);
    }
    return acceptedAs(earlier.run_id, { replayed: true, skipped: earlier.skipped });
  }
  const detail = "This Idempotency-Key was used with another request; use a new one for a new request.";
  return { is: "refused", code: "idempotency_conflict", detail };
}

/** Why the statement did not commit an admitted run: it has no definition, or there is no room by the count of Postgres. */
async function whyNotCommitted(
  deps: SubmitDeps,
  run: NewRun,
  quotaCheckedBy: QuotaCheckedBy,
): Promise<Refusal> {
  const unknown: Refusal = {
    code: "not_found",
    detail: `There is no orchestration ${run.orchestration_id}.`,
  };
  if (quotaCheckedBy === "queue") return unknown;
  if (run.turn) return refusedByPostgres(deps, run.tenant_id);
  const { tenant_id, orchestration_id } = run;
  const definition = await deps.query((sql) => readOrchestration(sql, tenant_id, orchestration_id));
  return definition === null ? unknown : refusedByPostgres(deps, tenant_id);
}

/** Why the session of a chat turn did not take it; null: the session had no reason. */
async function turnRefusal(
  { query }: Pick<AdmitDeps, "query">,
  { session, rejects_busy }: NewTurn,
  run: RunId,
): Promise<Refusal | null> {
  const why = await query((sql) => whyNotTaken(sql, session, run, rejects_busy));
  if (why === null) return null;
  const refusals: Record<typeof why, Refusal> = {
    unknown: { code: "not_found", detail: "There is no such session." },
    busy: { code: "session_busy", detail: "A turn of this session has not ended, and on_busy is reject." },
    outrun: { code: "conflict", detail: "Other turns of the session were first; try again." },
  };
  return refusals[why];
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

function logNotEnqueued(error: unknown): void {
  log.info("submit.not_enqueued", { error: messageOf(error) });
}

function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
