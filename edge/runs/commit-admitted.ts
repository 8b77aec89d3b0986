import type { RunId } from "../../shared/contracts/ids.ts";
import type { NewRun } from "../../shared/contracts/run.ts";
import { inHalves } from "../../shared/store/halves.ts";
import { acceptRuns, findAccepted } from "../../shared/store/runs/accept-runs.ts";
import type { AcceptedRuns, QuotaCheckedBy } from "../../shared/store/runs/accept-runs.ts";
import { ensureTenant } from "../../shared/store/tenants/tenant-rows.ts";
import { isNotCommitted } from "../../shared/store/unreachable.ts";
import { elapsedMs } from "../../shared/tasks/elapsed-ms.ts";
import type { AdmitDeps, Admission } from "./admit.ts";

export type Admissions = ReadonlyMap<RunId, Admission>;

/**
 * What became of admitted runs. `accepted`: the committed runs. `failed`: the error of each run whose statement failed. A run in
 * neither was not committed: its definition does not exist, its idempotency key is taken, its tenant's queue is full, or it was
 * skipped for its singleton key.
 */
export type CommitOutcome = { accepted: AcceptedRuns; failed: Map<RunId, unknown> };

/** Commits the admitted runs among these, in separate statements for the runs whose quota Redis and Postgres have checked. */
export async function commitAdmitted(
  deps: AdmitDeps,
  runs: readonly NewRun[],
  admissions: Admissions,
): Promise<CommitOutcome> {
  const outcome: CommitOutcome = { accepted: new Map(), failed: new Map() };
  // One statement can take an idempotency key once. A second run with the same key gets the result of the first.
  const admitted = firstOfEachKey(runs.filter((run) => admissions.get(run.run_id)?.is === "admitted"));
  for (const quotaCheckedBy of ["queue", "postgres"] as const) {
    const some = admitted.filter((run) => {
      const admission = admissions.get(run.run_id);
      return admission?.is === "admitted" && admission.quotaCheckedBy === quotaCheckedBy;
    });
    // One statement can take one singleton key: see acceptRuns.
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
 * Commits runs and adds the result to `outcome`. Never throws: a committed run stays accepted, whatever fails after its commit. When
 * the connection breaks, the statement may be committed all the same. Therefore its runs are looked up, and those that are not found
 * are committed once more, which is safe: a run id is committed at most once.
 */
async function commit(
  deps: AdmitDeps,
  runs: readonly NewRun[],
  quotaCheckedBy: QuotaCheckedBy,
  admissions: Admissions,
  outcome: CommitOutcome,
): Promise<void> {
  if (runs.length === 0) return;
  const startedMs = elapsedMs();
  const attempt = () => tryCommit(deps, runs, quotaCheckedBy, admissions, outcome);
  if ((await attempt()) || !(await lookUp(deps, runs, outcome))) return;
  if (elapsedMs() - startedMs >= BROKEN_WITHIN_MS) return;
  await attempt();
  await lookUp(deps, runs, outcome);
}

/** @returns false when the outcome of some runs is unknown: the connection was lost before the result came */
async function tryCommit(
  deps: AdmitDeps,
  runs: readonly NewRun[],
  quotaCheckedBy: QuotaCheckedBy,
  admissions: Admissions,
  { accepted, failed }: CommitOutcome,
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
  { accepted, failed }: CommitOutcome,
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

/** Prepares a statement that checks quotas itself: a tenant needs a row, and the queue's counts are invalidated before the commit. */
async function prepareCounting(
  { config, queue, query }: AdmitDeps,
  runs: readonly NewRun[],
  admissions: Admissions,
): Promise<void> {
  for (const tenant of new Set(runs.map((run) => run.tenant_id))) {
    await query((sql) => ensureTenant(sql, tenant, config.RATE_LIMIT_PER_TENANT_RPS));
  }
  const unreserved = runs.filter((run) => !admissions.get(run.run_id)?.reserved);
  await queue.invalidateCountsOf(unreserved.map((run) => run.tenant_id));
}

function firstOfEachKey(runs: readonly NewRun[]): NewRun[] {
  const seen = new Set<string>();
  return runs.filter((run) => {
    if (run.idempotency_key === null) return true;
    const key = `${run.tenant_id}\0${run.idempotency_key}`;
    return !seen.has(key) && seen.add(key);
  });
}

/** Whether a run may be committed although its statement failed. Its reservation is then kept until it lapses. */
export function isOutcomeUnknown(error: unknown): boolean {
  return error !== undefined && !isNotCommitted(error);
}
