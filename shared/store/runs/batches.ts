import { z } from "zod";
import { jsonText } from "../../contracts/json.ts";
import { BatchId, RefusedItem, SkippedItem } from "../../contracts/batch.ts";
import { RunId } from "../../contracts/ids.ts";
import type { TenantId } from "../../contracts/ids.ts";
import { RunStatus } from "../../contracts/run.ts";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";

/** A batch that begins. */
type NewBatch = { batch_id: BatchId; tenant_id: TenantId; orchestration_id: string; total: number };

/** Begins a batch of a request without an Idempotency-Key, before its items are submitted. */
export async function insertBatch(
  sql: Sql,
  { batch_id, tenant_id, orchestration_id, total }: NewBatch,
): Promise<void> {
  await sql`
    insert into batches (batch_id, tenant_id, orchestration_id, total)
    values (${batch_id}, ${tenant_id}, ${orchestration_id}, ${total})`;
}

/** The batch that a request joins, as the first request with its Idempotency-Key began it. */
const Begun = z.object({ batch_id: BatchId, orchestration_id: z.string(), total: z.number() });

/** How often a request looks for the batch of its Idempotency-Key, whose row retention may delete between two statements. */
const MAX_JOIN_TRIES = 3;

/**
 * Begins the batch of an Idempotency-Key, before its items are submitted, or returns the one that a request of the last 24 hours has
 * begun under the key. Of several requests at once one begins a batch, and the others join it.
 *
 * @param key what stands for the batch among the tenant's idempotency keys
 * @param batch_id the id of the first batch of the key; edges of earlier versions give it to each batch of the key
 * @param later the id of the batch if it is not the first one of the key
 */
export async function beginKeyedBatch(
  sql: Sql,
  key: string,
  { batch_id, tenant_id, orchestration_id, total }: NewBatch,
  later: BatchId,
): Promise<z.infer<typeof Begun>> {
  for (let tries = 0; tries < MAX_JOIN_TRIES; tries++) {
    const rows = await sql`
      with first as (
        select created_at, created_at < now() - interval '24 hours' as is_old from batches where batch_id = ${batch_id}
      ), chosen as (
        select case when exists (select from first where is_old)
          or exists (select from idempotency_keys where tenant_id = ${tenant_id} and key = ${key} and ${isOver(sql)})
          then ${later} else ${batch_id} end as batch_id
      ), keyed as (
        -- A batch of an edge of an earlier version has no key yet: its key is as old as the batch.
        insert into idempotency_keys as k (tenant_id, key, request_hash, run_id, created_at)
        select ${tenant_id}, ${key}, '', batch_id,
          coalesce((select created_at from first where not is_old), now()) + interval '1 hour'
        from chosen
        on conflict (tenant_id, key) do update set run_id = excluded.run_id, created_at = excluded.created_at
          where k.${isOver(sql)}
        returning run_id
      )
      insert into batches (batch_id, tenant_id, orchestration_id, total)
      select run_id, ${tenant_id}, ${orchestration_id}, ${total} from keyed
      on conflict (batch_id) do update set total = batches.total
      returning batch_id, orchestration_id, total`;
    const joined =
      rows.length > 0
        ? rows
        : await sql`
            select b.batch_id, b.orchestration_id, b.total from idempotency_keys k join batches b on b.batch_id = k.run_id
            where k.tenant_id = ${tenant_id} and k.key = ${key}`;
    if (joined.length > 0) return Begun.parse(joined[0]);
  }
  throw new Error(`the batch of an Idempotency-Key of ${tenant_id} was not found ${MAX_JOIN_TRIES} times`);
}

/** A condition: 24 hours have passed since a batch's key was taken. Its `created_at` is an hour ahead, as those of its items are. */
function isOver(sql: Sql) {
  return sql`created_at < now() - interval '23 hours'`;
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
      refused: withKept(refused, Refused.parse(before?.refused ?? null) ?? [], kept),
      skipped: withKept(skipped, Skipped.parse(before?.skipped ?? null) ?? [], kept),
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

function withKept<Item extends { index: number }>(
  items: readonly Item[],
  earlier: readonly Item[],
  kept: ReadonlySet<number>,
): Item[] {
  return [...items, ...earlier.filter(({ index }) => kept.has(index))].toSorted(byIndex);
}

const byIndex = (a: { index: number }, b: { index: number }) => a.index - b.index;

const Refused = jsonText(z.array(RefusedItem)).nullable();
const Skipped = jsonText(z.array(SkippedItem)).nullable();

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
  refused: Refused,
  skipped: Skipped,
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
