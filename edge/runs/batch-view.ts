import { z } from "zod";
import { BatchId, RefusedItem, SkippedItem } from "../../shared/contracts/batch.ts";
import { RunId } from "../../shared/contracts/ids.ts";
import { RunStatus, TERMINAL } from "../../shared/contracts/run.ts";
import type { Principal } from "../../shared/contracts/tenant.ts";
import { AppError } from "../../shared/errors.ts";
import { countBatchRuns, listStartedItems, readBatch } from "../../shared/store/runs/batches.ts";
import type { BatchRow } from "../../shared/store/runs/batches.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { isoTime } from "../../shared/text/iso-time.ts";

/** The answer for one item: that of POST …/run for the same body, or the problem that the body would get there. */
export const ItemAnswer = z.discriminatedUnion("status", [
  z.object({ index: z.number().int(), status: z.literal("queued"), run_id: RunId }),
  z.object({ index: z.number().int(), status: z.literal("skipped"), run_id: RunId }),
  z.object({
    index: z.number().int(),
    status: z.literal("refused"),
    code: z.string(),
    detail: z.string(),
    errors: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
    retry_after_seconds: z.number().optional(),
  }),
]);
export type ItemAnswer = z.infer<typeof ItemAnswer>;

export const BatchAccepted = z
  .object({
    batch_id: BatchId,
    status_url: z.string(),
    results_url: z.string(),
    accepted: z.number().int(),
    skipped: z.number().int(),
    refused: z.number().int(),
    /** In the order of the request. */
    items: z.array(ItemAnswer),
  })
  .meta({ id: "BatchAccepted" });

export function batchUrls(batch: BatchId) {
  const url = `/api/v2/batches/${batch}`;
  return { status_url: url, results_url: `${url}/results` };
}

export const BatchView = z
  .object({
    batch_id: BatchId,
    tenant_id: z.string(),
    orchestration_id: z.string(),
    created_at: z.iso.datetime(),
    /** The number of items in the request. */
    total: z.number().int(),
    /** Items that started a run, by the status of that run. */
    runs: z.record(RunStatus, z.number().int()),
    /** Items whose run retention has deleted. */
    deleted: z.number().int(),
    /** Items that are no run and not skipped or refused yet. When the number stays above 0, the edge died: send the request again. */
    unsubmitted: z.number().int(),
    refused: z.array(RefusedItem),
    skipped: z.array(SkippedItem),
    /** Every item has been submitted, and every run has ended. */
    finished: z.boolean(),
    results_url: z.string(),
  })
  .meta({ id: "Batch" });

/** The progress of a batch. Its runs are counted in one statement. */
export async function viewOfBatch(sql: Sql, row: BatchRow): Promise<z.infer<typeof BatchView>> {
  const counts = new Map((await countBatchRuns(sql, row.batch_id)).map(({ status, n }) => [status, n]));
  const started = Array.from(counts.values()).reduce((sum, n) => sum + n, 0);
  const { refused, skipped } = await withoutRuns(sql, row);
  const deleted = row.deleted_runs;
  const unsubmitted = Math.max(0, row.total - started - deleted - refused.length - skipped.length);
  const unfinished = RunStatus.options.filter(
    (status) => !TERMINAL.has(status) && (counts.get(status) ?? 0) > 0,
  );
  return {
    batch_id: row.batch_id,
    tenant_id: row.tenant_id,
    orchestration_id: row.orchestration_id,
    created_at: isoTime(row.created_at_ms),
    total: row.total,
    runs: {
      queued: counts.get("queued") ?? 0,
      running: counts.get("running") ?? 0,
      paused: counts.get("paused") ?? 0,
      completed: counts.get("completed") ?? 0,
      failed: counts.get("failed") ?? 0,
      cancelled: counts.get("cancelled") ?? 0,
    },
    deleted,
    unsubmitted,
    refused,
    skipped,
    finished: unsubmitted === 0 && unfinished.length === 0,
    results_url: batchUrls(row.batch_id).results_url,
  };
}

/** The items that were refused or skipped, without those of which another request with the Idempotency-Key has started the run. */
async function withoutRuns(sql: Sql, { batch_id, refused, skipped }: BatchRow) {
  const recorded = [...(refused ?? []), ...(skipped ?? [])].map(({ index }) => index);
  const started = recorded.length === 0 ? null : await listStartedItems(sql, batch_id, recorded);
  const isNoRun = ({ index }: { index: number }) => !started?.has(index);
  return { refused: (refused ?? []).filter(isNoRun), skipped: (skipped ?? []).filter(isNoRun) };
}

/** The batch that a path names. @throws AppError `not_found`, also for a batch of another tenant */
export async function findBatch(sql: Sql, principal: Principal, batch: string): Promise<BatchRow> {
  const id = BatchId.safeParse(batch);
  const row = id.success ? await readBatch(sql, principal.tenant, id.data) : null;
  if (!row) throw new AppError("not_found", "There is no such batch.");
  return row;
}
