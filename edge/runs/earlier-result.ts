import type { NewRun, SubmitResult } from "../../shared/contracts/run.ts";
import { findIdempotent } from "../../shared/store/runs/accept-runs.ts";
import type { AdmitDeps } from "./admit.ts";

/** The result that an earlier request got under the same Idempotency-Key; null: there was none. */
export async function findEarlier(
  { query }: Pick<AdmitDeps, "query">,
  { tenant_id, idempotency_key: key, request_hash }: NewRun,
): Promise<SubmitResult | null> {
  if (key === null) return null;
  const earlier = await query((sql) => findIdempotent(sql, tenant_id, key));
  if (!earlier) return null;
  if (earlier.request_hash === request_hash) {
    return { is: "accepted", run_id: earlier.run_id, replayed: true };
  }
  const detail = "This Idempotency-Key was used with another request; use a new one for a new request.";
  return { is: "refused", code: "idempotency_conflict", detail };
}
