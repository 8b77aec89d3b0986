import { z } from "zod";
import { DefinitionId, RunId, TenantId, plainName } from "../../shared/contracts/ids.ts";
import { ClientTime } from "../../shared/contracts/time.ts";
import { RunStatus } from "../../shared/contracts/run.ts";
import type { Principal } from "../../shared/contracts/tenant.ts";
import { listRuns } from "../../shared/store/runs/list-runs.ts";
import type { RunListFilter } from "../../shared/store/runs/list-runs.ts";
import { MAX_METADATA_CHARS, MAX_METADATA_ENTRIES } from "../../shared/store/runs/metadata-filter.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { firstChars } from "../../shared/text/first-chars.ts";
import { PageQuery, readCursor } from "../http/paging.ts";
import { invalidFields } from "../http/problem.ts";
import { timeRangeOf } from "../http/range.ts";
import { tenantFilterOf } from "../http/middleware/principal.ts";
import { summaryOf } from "./run-view.ts";
import type { RunSummary } from "./run-view.ts";

const time = ClientTime.optional();

const statusName = RunStatus.options.join("|");

/** The query of a list of runs. */
export const RunListQuery = PageQuery.extend({
  status: z
    .string()
    .regex(
      new RegExp(`^(${statusName})(,(${statusName}))*$`),
      `must be one or more of ${RunStatus.options.join(", ")}, separated by commas`,
    )
    .optional()
    .meta({ description: "One or more statuses, separated by commas" }),
  orchestration_id: DefinitionId.optional(),
  session_id: plainName(255).optional(),
  tenant_id: TenantId.optional(),
  since: time.meta({ description: "Runs that were queued at this time or later" }),
  until: time.meta({ description: "Runs that were queued before this time" }),
  "metadata.*": z.string().optional().meta({
    description:
      "`metadata.customer=7`: runs with this value in their metadata; up to 5 of them, each of up to 1,000 characters, name and value together",
  }),
});
export type RunListQuery = z.infer<typeof RunListQuery>;

const METADATA = "metadata.";

/**
 * A page of the runs that the caller may see, the newest first, and the cursor of the next one.
 * @param parameters all parameters of the request's URL
 * @throws AppError `forbidden` when a tenant's key names another tenant; `bad_cursor`; `invalid`
 */
export async function pageOfRuns(
  sql: Sql,
  principal: Principal,
  query: RunListQuery,
  parameters: Record<string, string>,
): Promise<{ runs: RunSummary[]; cursor: string | null }> {
  const { limit, cursor } = query;
  const filter = filterOf(principal, query, metadataOf(parameters));
  const { runs, next } = await listRuns(sql, filter, readCursor(Cursor, cursor), limit);
  return { runs: runs.map(summaryOf), cursor: next && `${next.queuedAtUs}.${next.run_id}` };
}

function filterOf(
  principal: Principal,
  query: RunListQuery,
  metadata: RunListFilter["metadata"],
): RunListFilter {
  const { tenant_id, orchestration_id = null, session_id = null, since, until, status } = query;
  return {
    tenant: tenantFilterOf(principal, tenant_id),
    orchestration: orchestration_id,
    session: session_id,
    statuses: status === undefined ? null : z.array(RunStatus).parse([...new Set(status.split(","))]),
    ...timeRangeOf({ since, until }),
    metadata,
  };
}

/** The filters by metadata. @throws AppError `invalid` for more than five */
function metadataOf(parameters: Record<string, string>): RunListFilter["metadata"] {
  const filters = Object.entries(parameters)
    .filter(([name]) => name.startsWith(METADATA))
    .map(([name, value]) => ({ key: name.slice(METADATA.length), value }));
  for (const { key, value } of filters) {
    if (key.length + value.length <= MAX_METADATA_CHARS) continue;
    const path = `${METADATA}${firstChars(key, 50)}`;
    throw invalidFields([
      { path, message: `may have at most ${MAX_METADATA_CHARS} characters, name and value together` },
    ]);
  }
  if (filters.length <= MAX_METADATA_ENTRIES) return filters;
  const message = `has ${filters.length} filters: give at most ${MAX_METADATA_ENTRIES}`;
  throw invalidFields([{ path: "metadata", message }]);
}

const Cursor = z
  .string()
  .regex(/^[0-9]{1,16}\.run_/)
  .transform((text) => {
    const dot = text.indexOf(".");
    return { queuedAtUs: Number(text.slice(0, dot)), run_id: text.slice(dot + 1) };
  })
  .pipe(z.object({ queuedAtUs: z.number().int(), run_id: RunId }));
