import { z } from "zod";
import { RunId } from "../../shared/contracts/ids.ts";
import { inGroups } from "../http/in-groups.ts";
import { toAppError } from "../http/problem.ts";

/** The part of the matching runs that one request handles. */
export const BulkPage = z.object({
  limit: z.number().int().min(1).max(200).default(100),
  /** The id of the last run of the page before; empty: the first page. */
  cursor: z.union([RunId, z.literal("")]).default(""),
  dry_run: z.boolean().default(false),
});

/** The result for one run of many: the status that `action` returned, or the code of its error. */
const BulkItem = z.object({
  run_id: RunId,
  status: z.string().optional(),
  code: z.string().optional(),
  detail: z.string().optional(),
});
export type BulkItem = z.infer<typeof BulkItem>;

/** `matched`: in a dry run the number of matching runs, up to 100,000; else the number that this request handled. */
export const BulkResult = z
  .object({
    dry_run: z.boolean(),
    matched: z.number().int(),
    results: z.array(BulkItem),
    next_cursor: z.string().nullable(),
  })
  .meta({ id: "Bulk" });
export type BulkResult = z.infer<typeof BulkResult>;

/** Applies `action` to each run, five at a time. An error becomes that run's result and stops no other. */
export function applyToEach(
  runs: readonly RunId[],
  action: (run: RunId) => Promise<string>,
): Promise<BulkItem[]> {
  return inGroups(runs, (run) => apply(run, action));
}

async function apply(run_id: RunId, action: (run: RunId) => Promise<string>): Promise<BulkItem> {
  try {
    return { run_id, status: await action(run_id) };
  } catch (error) {
    const { code, message } = toAppError(error);
    return { run_id, code, detail: message };
  }
}
