import { z } from "zod";
import { TenantId } from "../../shared/contracts/ids.ts";
import type { RunId } from "../../shared/contracts/ids.ts";
import type { RunStatus } from "../../shared/contracts/run.ts";
import type { Principal } from "../../shared/contracts/tenant.ts";
import { AppError } from "../../shared/errors.ts";
import { countRuns, findRuns } from "../../shared/store/runs/run-filter.ts";
import type { RunFilter } from "../../shared/store/runs/run-filter.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { Page, forEach } from "./bulk.ts";
import type { Bulk } from "./bulk.ts";

/** By what runs are chosen of which many are to be cancelled or retried. */
export const RunChoice = z.object({
  ...Page.shape,
  tenant_id: TenantId.optional(),
  orchestration_id: z.string().max(255).optional(),
  /** When they were queued: from this moment on, and before that one. */
  since: z.iso.datetime({ offset: true }).optional(),
  until: z.iso.datetime({ offset: true }).optional(),
});
export type RunChoice = z.infer<typeof RunChoice>;

/**
 * Does `act` to a page of the runs that are meant, or in a dry run counts them all.
 * @throws AppError `forbidden` when a tenant's key names another tenant
 */
export async function forChosen(
  sql: Sql,
  principal: Principal,
  choice: RunChoice,
  statuses: readonly RunStatus[],
  act: (run: RunId) => Promise<string>,
): Promise<Bulk> {
  const { dry_run, limit, cursor } = choice;
  const filter = filterOf(principal, choice, statuses);
  if (dry_run) return { dry_run, matched: await countRuns(sql, filter), results: [], next_cursor: null };
  const runs = (await findRuns(sql, filter, cursor, limit)).map(({ run_id }) => run_id);
  const results = await forEach(runs, act);
  return {
    dry_run,
    matched: runs.length,
    results,
    next_cursor: runs.length === limit ? (runs.at(-1) ?? null) : null,
  };
}

function filterOf(principal: Principal, choice: RunChoice, statuses: readonly RunStatus[]): RunFilter {
  const { tenant_id = null, orchestration_id = null, since, until } = choice;
  if (principal.tenant !== null && tenant_id !== null && tenant_id !== principal.tenant) {
    throw new AppError(
      "forbidden",
      "This key belongs to another tenant than the one that the request names.",
    );
  }
  return {
    tenant: principal.tenant ?? tenant_id,
    orchestration: orchestration_id,
    statuses,
    since: since === undefined ? null : new Date(since),
    until: until === undefined ? null : new Date(until),
  };
}
