import { z } from "zod";
import { DefinitionId, TenantId } from "../../shared/contracts/ids.ts";
import { ClientTime } from "../../shared/contracts/time.ts";
import type { RunId } from "../../shared/contracts/ids.ts";
import type { RunStatus } from "../../shared/contracts/run.ts";
import type { Principal } from "../../shared/contracts/tenant.ts";
import { countSelectedRuns, findRuns } from "../../shared/store/runs/run-filter.ts";
import type { RunFilter } from "../../shared/store/runs/run-filter.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { tenantFilterOf } from "../http/middleware/principal.ts";
import { timeRangeOf } from "../http/range.ts";
import { BulkPage, applyToEach } from "./bulk-action.ts";
import type { BulkResult } from "./bulk-action.ts";

/** The filter of a request that cancels or retries many runs, and the page of them that it handles. */
export const RunSelection = z.object({
  ...BulkPage.shape,
  tenant_id: TenantId.optional(),
  orchestration_id: DefinitionId.optional(),
  /** Bounds of `queued_at`: at `since` or later, and before `until`. */
  since: ClientTime.optional(),
  until: ClientTime.optional(),
  all: z.boolean().default(false),
});
export type RunSelection = z.infer<typeof RunSelection>;

/** For `.refine`: a request without a filter must state `all: true`, which means all runs that its key may change. */
export const FILTERED: [(selection: Partial<RunSelection>) => boolean, { message: string; path: string[] }] =
  [
    ({ all, tenant_id, orchestration_id, since, until }) =>
      [all, tenant_id, orchestration_id, since, until].some(Boolean),
    { message: "give a tenant_id, an orchestration_id, since or until, or all: true", path: ["all"] },
  ];

/** The runs of a selection: of these statuses, and visible to this principal. */
export type SelectedRuns = { principal: Principal; selection: RunSelection; statuses: readonly RunStatus[] };

/**
 * Applies `action` to one page of the selected runs. A dry run only counts them.
 * @throws AppError `forbidden` when a tenant's key names another tenant; `invalid` for a range of times that ends before it begins
 */
export async function applyToSelected(
  sql: Sql,
  selected: SelectedRuns,
  action: (run: RunId) => Promise<string>,
): Promise<BulkResult> {
  const { dry_run, limit, cursor } = selected.selection;
  const filter = filterOf(selected);
  if (dry_run)
    return { dry_run, matched: await countSelectedRuns(sql, filter), results: [], next_cursor: null };
  const runs = (await findRuns(sql, filter, cursor, limit)).map(({ run_id }) => run_id);
  const results = await applyToEach(runs, action);
  return {
    dry_run,
    matched: runs.length,
    results,
    next_cursor: runs.length === limit ? (runs.at(-1) ?? null) : null,
  };
}

function filterOf({ principal, selection, statuses }: SelectedRuns): RunFilter {
  const { tenant_id, orchestration_id = null, since, until } = selection;
  return {
    tenant: tenantFilterOf(principal, tenant_id),
    orchestration: orchestration_id,
    statuses,
    ...timeRangeOf({ since, until }),
  };
}
