import { z } from "zod";
import { RunId } from "../../shared/contracts/ids.ts";
import { toAppError } from "../http/problem.ts";

/** Runs handled at the same time: as many as a request has connections to Postgres. */
const CONCURRENCY = 5;

/** The part of the matching runs that one request handles. */
export const BulkPage = z.object({
  limit: z.number().int().min(1).max(200).default(100),
  /** The id of the last run of the page before; empty: the first page. */
  cursor: z.union([RunId, z.literal("")]).default(""),
  dry_run: z.boolean().default(false),
});

/** The result for one run of many: its new status, or the code of the error. */
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

/** Applies `action` to each run, a few at a time. An error becomes that run's result and stops no other. */
export async function applyToEach(
  runs: readonly RunId[],
  action: (run: RunId) => Promise<string>,
): Promise<BulkItem[]> {
  const items: BulkItem[] = [];
  for (let at = 0; at < runs.length; at += CONCURRENCY) {
    items.push(...(await Promise.all(runs.slice(at, at + CONCURRENCY).map((run) => apply(run, action)))));
  }
  return items;
}

async function apply(run_id: RunId, action: (run: RunId) => Promise<string>): Promise<BulkItem> {
  try {
    return { run_id, status: await action(run_id) };
  } catch (error) {
    const { code, message } = toAppError(error);
    return { run_id, code, detail: message };
  }
}
