import type { RunId, TenantId } from "../../shared/contracts/ids.ts";
import type { NewRun } from "../../shared/contracts/run.ts";
import { inHalves } from "../../shared/store/halves.ts";
import { acceptRuns, findAccepted } from "../../shared/store/runs/accept-runs.ts";
import type { AcceptedRuns, QuotaCheckedBy } from "../../shared/store/runs/accept-runs.ts";
import { isNotCommitted } from "../../shared/store/unreachable.ts";
import { ensureTenant } from "../../shared/store/tenants/tenant-rows.ts";
import type { AdmitDeps, Admission } from "./admit.ts";

export type Accepted = AcceptedRuns;

/** What became of admitted runs: those that are committed, and the error of each whose statement failed. */
export type Acceptance = { accepted: Accepted; failed: ReadonlyMap<RunId, unknown> };

/**
 * Commits the admitted ones of these runs. A run that is in neither part of the result was not committed: its definition
 * does not exist, its idempotency key is taken, or its tenant's queue is full.
 */
export async function acceptAdmitted(
  deps: AdmitDeps,
  runs: readonly NewRun[],
  admissions: ReadonlyMap<RunId, Admission>,
): Promise<Acceptance> {
  // One statement takes a key once. A second run with the same key gets the result of the first.
  const admitted = firstOfEachKey(runs.filter((run) => admissions.get(run.run_id)?.is === "admitted"));
  const checkedBy = (store: QuotaCheckedBy) =>
    admitted.filter((run) => {
      const admission = admissions.get(run.run_id);
      return admission?.is === "admitted" && admission.quotaCheckedBy === store;
    });
  const counted = checkedBy("postgres");
  const parts = [
    await commit(deps, checkedBy("queue"), "queue"),
    await commit(deps, counted, "postgres", () => prepareCounting(deps, counted, admissions)),
  ];
  return {
    accepted: new Map(parts.flatMap(({ accepted }) => [...accepted])),
    failed: new Map(parts.flatMap(({ failed }) => [...failed])),
  };
}

/** The commit of runs that do not wait for each other's outcomes: it adds to both parts. */
type Commit = { accepted: Accepted; failed: Map<RunId, unknown> };

/** A commit whose connection broke within this time is tried once more. */
const BROKEN_WITHIN_MS = 1_000;

/**
 * Never throws: what is committed stays accepted, whatever fails after it. A statement whose connection broke may be
 * committed all the same, so its runs are looked up, and those that are not found are committed once more: an id is
 * committed once, however often it is tried.
 */
async function commit(
  deps: AdmitDeps,
  runs: readonly NewRun[],
  quotaCheckedBy: QuotaCheckedBy,
  prepare = async () => {},
): Promise<Commit> {
  const outcome: Commit = { accepted: new Map(), failed: new Map() };
  if (runs.length === 0) return outcome;
  const startedMs = Date.now();
  const attempt = () => tryCommit(deps, runs, quotaCheckedBy, outcome, prepare);
  if ((await attempt()) || !(await lookUp(deps, runs, outcome))) return outcome;
  if (Date.now() - startedMs < BROKEN_WITHIN_MS) {
    await attempt();
    await lookUp(deps, runs, outcome);
  }
  return outcome;
}

/** @returns false when the outcome of some runs is unknown: the connection was lost before the result came */
async function tryCommit(
  { query }: AdmitDeps,
  runs: readonly NewRun[],
  quotaCheckedBy: QuotaCheckedBy,
  { accepted, failed }: Commit,
  prepare: () => Promise<void>,
): Promise<boolean> {
  const remaining = runs.filter(({ run_id }) => !accepted.has(run_id));
  failed.clear();
  try {
    await prepare();
    const refused = await inHalves(remaining, async (some) => {
      const rows = await query((sql) => acceptRuns(sql, some, quotaCheckedBy));
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
 * Looks up the runs whose outcome is unknown, on another connection. One that is not found may still be committed later.
 * @returns false when the database cannot be reached: their outcome stays unknown, and the callers get the first error
 */
async function lookUp(
  { query }: AdmitDeps,
  runs: readonly NewRun[],
  { accepted, failed }: Commit,
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
  admissions: ReadonlyMap<RunId, Admission>,
): Promise<void> {
  for (const tenant of new Set<TenantId>(runs.map((run) => run.tenant_id))) {
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
