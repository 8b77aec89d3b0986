import { z } from "zod";
import { BatchId, RefusedItem, SkippedItem } from "../../contracts/batch.ts";
import { RunId } from "../../contracts/ids.ts";
import type { TenantId } from "../../contracts/ids.ts";
import { RunStatus } from "../../contracts/run.ts";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";

/**
 * Begins a batch, before its items are submitted, and returns how many items it has. A batch that a request with the same
 * Idempotency-Key began stays as it is.
 */
export async function insertBatch(
  sql: Sql,
  batch: { batch_id: BatchId; tenant_id: TenantId; orchestration_id: string; total: number },
): Promise<number> {
  const [row] = await sql`
    insert into batches (batch_id, tenant_id, orchestration_id, total)
    values (${batch.batch_id}, ${batch.tenant_id}, ${batch.orchestration_id}, ${batch.total})
    on conflict (batch_id) do update set total = batches.total
    returning total`;
  return z.object({ total: z.number() }).parse(row).total;
}

/**
 * Records which items started no run, once all were submitted. Of the items `kept` a request before this one has recorded the outcome,
 * which stays.
 */
export async function saveBatchOutcome(
  sql: Sql,
  batch: BatchId,
  {
    refused,
    skipped,
    kept,
  }: { refused: readonly RefusedItem[]; skipped: readonly SkippedItem[]; kept: ReadonlySet<number> },
): Promise<void> {
  for (let tries = 0; tries < MAX_OUTCOME_TRIES; tries++) {
    const before = kept.size === 0 ? null : await readOutcome(sql, batch);
    const all = {
      refused: withKept(refused, earlierOf(RefusedItem, before?.refused), kept),
      skipped: withKept(skipped, earlierOf(SkippedItem, before?.skipped), kept),
    };
    // Another request under the key may save its outcome between the two statements.
    const saved = await sql`
      update batches set refused = ${JSON.stringify(all.refused)}, skipped = ${JSON.stringify(all.skipped)}
      where batch_id = ${batch} and (${kept.size === 0}
        or (refused is not distinct from ${before?.refused ?? null} and skipped is not distinct from ${before?.skipped ?? null}))
      returning 1`;
    if (saved.length > 0 || (kept.size > 0 && before === null)) return;
  }
  throw new Error(`the outcome of ${batch} was changed by others ${MAX_OUTCOME_TRIES} times`);
}

/** How often an outcome is merged anew because another request with the Idempotency-Key has saved its own meanwhile. */
const MAX_OUTCOME_TRIES = 10;

const Outcome = z.object({ refused: z.string().nullable(), skipped: z.string().nullable() });

async function readOutcome(sql: Sql, batch: BatchId): Promise<z.infer<typeof Outcome> | null> {
  const [row] = await sql`select refused, skipped from batches where batch_id = ${batch}`;
  return row ? Outcome.parse(row) : null;
}

function earlierOf<Item extends z.ZodType>(item: Item, json: string | null = null): z.infer<Item>[] {
  return jsonText(item).parse(json) ?? [];
}

function withKept<Item extends { index: number }>(
  items: readonly Item[],
  earlier: readonly Item[],
  kept: ReadonlySet<number>,
): Item[] {
  return [...items, ...earlier.filter(({ index }) => kept.has(index))].toSorted(byIndex);
}

const byIndex = (a: { index: number }, b: { index: number }) => a.index - b.index;

const jsonText = <Item extends z.ZodType>(item: Item) =>
  z
    .string()
    .nullable()
    .transform((text) => (text === null ? null : z.array(item).parse(JSON.parse(text))));

/**
 * `refused` and `skipped` are null until all items were submitted; for ever, if the edge died before that. `deleted_runs`: how many of
 * its runs retention has deleted.
 */
const BatchRow = z.object({
  batch_id: BatchId,
  tenant_id: z.string(),
  orchestration_id: z.string(),
  total: z.number(),
  created_at_ms: z.number(),
  deleted_runs: z.number(),
  refused: jsonText(RefusedItem),
  skipped: jsonText(SkippedItem),
});
export type BatchRow = z.infer<typeof BatchRow>;

/** A batch; null when the tenant (null: any) has no such batch. */
export async function readBatch(sql: Sql, tenant: TenantId | null, batch: BatchId): Promise<BatchRow | null> {
  const [row] = await sql`
    select batch_id, tenant_id, orchestration_id, total, deleted_runs, refused, skipped,
      extract(epoch from created_at)::float8 * 1000 as created_at_ms
    from batches where batch_id = ${batch} and (${tenant}::text is null or tenant_id = ${tenant})`;
  return row ? BatchRow.parse(row) : null;
}

const StatusCount = z.object({ status: RunStatus, n: z.number() });

/** How many of a batch's runs have each status. */
export async function countBatchRuns(sql: Sql, batch: BatchId): Promise<z.infer<typeof StatusCount>[]> {
  const rows = await sql`
    select status, count(*)::int as n from runs where batch_id = ${batch} group by status`;
  return rows.map((row) => StatusCount.parse(row));
}

/** Which of these items of a batch are runs: an item that was refused first may have started one when the request was repeated. */
export async function listStartedItems(
  sql: Sql,
  batch: BatchId,
  items: readonly number[],
): Promise<ReadonlySet<number>> {
  const rows = await sql`
    select batch_index from runs where batch_id = ${batch} and batch_index = any(${pgArray(items)}::integer[])`;
  return new Set(rows.map((row) => BatchRun.shape.batch_index.parse(row["batch_index"])));
}

const BatchRun = z.object({ run_id: RunId, batch_index: z.number() });

/** The runs of a batch after an index, in the order of its items. */
export async function listBatchRuns(
  sql: Sql,
  batch: BatchId,
  afterIndex: number,
  limit: number,
): Promise<z.infer<typeof BatchRun>[]> {
  const rows = await sql`
    select run_id, batch_index from runs
    where batch_id = ${batch} and batch_index > ${afterIndex} order by batch_index limit ${limit}`;
  return rows.map((row) => BatchRun.parse(row));
}
