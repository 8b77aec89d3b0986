import { z } from "zod";
import { DefinitionId, TenantId } from "../../shared/contracts/ids.ts";
import { JsonRecord } from "../../shared/contracts/json.ts";
import { ClientTime } from "../../shared/contracts/time.ts";
import type { RunId } from "../../shared/contracts/ids.ts";
import type { RunStatus } from "../../shared/contracts/run.ts";
import type { Principal } from "../../shared/contracts/tenant.ts";
import { MAX_METADATA_CHARS, MAX_METADATA_ENTRIES } from "../../shared/store/runs/metadata-filter.ts";
import { EXAMINED_FOR_METADATA, countSelectedRuns, findRuns } from "../../shared/store/runs/run-filter.ts";
import type { RunFilter } from "../../shared/store/runs/run-filter.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { tenantFilterOf } from "../http/middleware/principal.ts";
import { timeRangeOf } from "../http/range.ts";
import { BulkPage, applyToEach } from "./bulk-action.ts";
import type { BulkResult } from "./bulk-action.ts";

/** Entries that the metadata of a run must have. An empty object is no filter: a client that dropped a value would change all runs. */
const MetadataFilter = JsonRecord.refine(
  (entries): entries is Record<string, string | number | boolean> =>
    Object.values(entries).every((value) => ["string", "number", "boolean"].includes(typeof value)),
  "must have texts, numbers or truth values, which are compared as texts",
)
  .refine((entries) => inRange(Object.keys(entries).length), `must have 1 to ${MAX_METADATA_ENTRIES} entries`)
  .refine(
    (entries) =>
      Object.entries(entries).every(
        ([key, value]) => key.length + String(value).length <= MAX_METADATA_CHARS,
      ),
    `must have at most ${MAX_METADATA_CHARS} characters in an entry, name and value together`,
  )
  .meta({
    id: "MetadataFilter",
    type: "object",
    additionalProperties: { type: ["string", "number", "boolean"] },
    minProperties: 1,
    maxProperties: MAX_METADATA_ENTRIES,
    examples: [{ customer: 7 }],
  });

const inRange = (entries: number): boolean => entries >= 1 && entries <= MAX_METADATA_ENTRIES;

/** The filter of a request that cancels or retries many runs, and the page of them that it handles. */
export const RunSelection = z.object({
  ...BulkPage.shape,
  tenant_id: TenantId.optional(),
  orchestration_id: DefinitionId.optional(),
  /** Bounds of `queued_at`: at `since` or later, and before `until`. */
  since: ClientTime.optional(),
  until: ClientTime.optional(),
  metadata: MetadataFilter.optional(),
  all: z.boolean().default(false),
});
export type RunSelection = z.infer<typeof RunSelection>;

/** What the documentation of both requests says about `metadata`. */
export const METADATA_SENTENCES =
  '`metadata` selects runs by 1 to 5 entries of theirs, each of up to 1,000 characters, compared as texts as in the list of runs: `{"customer": 7}`. A request examines at most ' +
  `${EXAMINED_FOR_METADATA} runs for it, so a page may be short, or empty, and have a \`next_cursor\` nevertheless; a dry run examines 100,000. Metadata over 16 KiB, ` +
  "or with U+0000 or half of a surrogate pair in it, matches nothing.";

/** For `.refine`: a request without a filter must state `all: true`, which means all runs that its key may change. */
export const FILTERED: [(selection: Partial<RunSelection>) => boolean, { message: string; path: string[] }] =
  [
    ({ all, tenant_id, orchestration_id, since, until, metadata }) =>
      [all, tenant_id, orchestration_id, since, until, metadata].some(Boolean),
    {
      message: "give a tenant_id, an orchestration_id, since, until or metadata, or all: true",
      path: ["all"],
    },
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
  const { runs, next } = await findRuns(sql, filter, cursor, limit);
  const results = await applyToEach(runs, action);
  return { dry_run, matched: runs.length, results, next_cursor: next };
}

function filterOf({ principal, selection, statuses }: SelectedRuns): RunFilter {
  const { tenant_id, orchestration_id = null, since, until, metadata = {} } = selection;
  return {
    tenant: tenantFilterOf(principal, tenant_id),
    orchestration: orchestration_id,
    statuses,
    ...timeRangeOf({ since, until }),
    metadata: Object.entries(metadata).map(([key, value]) => ({ key, value: String(value) })),
  };
}
