import type { RunId, TenantId } from "../../shared/contracts/ids.ts";
import type { NewRun } from "../../shared/contracts/run.ts";
import { inHalves } from "../../shared/store/halves.ts";
import { acceptRuns, findAccepted } from "../../shared/store/runs/insert-runs.ts";
import type { AcceptedRuns, QuotaCheckedBy } from "../../shared/store/runs/insert-runs.ts";
import { isRefusedByDatabase } from "../../shared/store/unreachable.ts";
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

/** Never throws: what is committed stays accepted, whatever fails after it. */
async function commit(
  { query }: AdmitDeps,
  runs: readonly NewRun[],
  quotaCheckedBy: QuotaCheckedBy,
  prepare = async () => {},
): Promise<Acceptance> {
  const accepted: Accepted = new Map();
  const failed = new Map<RunId, unknown>();
  if (runs.length === 0) return { accepted, failed };
  try {
    await prepare();
    const outcome = await inHalves(runs, async (some) => {
      const rows = await query((sql) => acceptRuns(sql, some, quotaCheckedBy));
      for (const [run, row] of rows) accepted.set(run, row);
    });
    for (const [{ run_id }, error] of outcome.failed) failed.set(run_id, error);
  } catch (error) {
    const unknown = runs.filter(({ run_id }) => !accepted.has(run_id));
    for (const { run_id } of unknown) failed.set(run_id, error);
    if (!isRefusedByDatabase(error)) await resolve(query, unknown, accepted, failed);
  }
  return { accepted, failed };
}

/**
 * The connection was lost before the result came, so the statement may be committed all the same: looks the runs up on
 * another connection. A run that is not found may still be committed later; its outcome stays unknown.
 */
async function resolve(
  query: AdmitDeps["query"],
  runs: readonly NewRun[],
  accepted: Accepted,
  failed: Map<RunId, unknown>,
): Promise<void> {
  try {
    const found = await query((sql) =>
      findAccepted(
        sql,
        runs.map(({ run_id }) => run_id),
      ),
    );
    for (const [run, row] of found) {
      accepted.set(run, row);
      failed.delete(run);
    }
  } catch {
    // The database cannot be reached: all outcomes stay unknown, and the callers get the first error.
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
