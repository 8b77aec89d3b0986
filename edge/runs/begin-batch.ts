import { digestOf } from "../../shared/text/bytes.ts";
import { BatchId } from "../../shared/contracts/batch.ts";
import { randomHex } from "../../shared/contracts/ids.ts";
import type { TenantId } from "../../shared/contracts/ids.ts";
import { AppError } from "../../shared/errors.ts";
import { findIdempotent } from "../../shared/store/runs/accept-runs.ts";
import { beginKeyedBatch, insertBatch } from "../../shared/store/runs/batches.ts";
import type { Sql } from "../../shared/store/sql.ts";
import type { Batch } from "./batch-items.ts";
import { idempotencyKeyOf } from "./idempotency-key.ts";

/** What a request asks for. `key`: its Idempotency-Key; null: it has none. */
export type BatchRequest = {
  orchestration: string;
  tenant: TenantId;
  key: string | null;
  total: number;
};

/**
 * Begins the batch of a request, or joins the one that a request with the same Idempotency-Key has begun in the last 24 hours. Each
 * batch has idempotency keys of its own for its items, so a new batch under an old key starts new runs.
 * @throws AppError `idempotency_conflict` when the key is that of a batch with another orchestration or number of items
 */
export async function beginBatch(
  sql: Sql,
  { orchestration, tenant, key, total }: BatchRequest,
): Promise<{ batch_id: BatchId } & Pick<Batch, "keyOfItem">> {
  const of = { tenant_id: tenant, orchestration_id: orchestration, total };
  const fresh = BatchId.parse(`batch_${randomHex(12)}`);
  if (key === null) {
    await insertBatch(sql, { batch_id: fresh, ...of });
    return { batch_id: fresh, keyOfItem: () => null };
  }
  const first = await firstBatchOf(tenant, orchestration, key);
  const begun = await beginKeyedBatch(sql, idempotencyKeyOf("batch", key), { batch_id: first, ...of }, fresh);
  const { batch_id } = begun;
  if (begun.orchestration_id !== orchestration || begun.total !== total) throw otherBatch(begun);
  const own = batch_id === first ? [] : [batch_id];
  return { batch_id, keyOfItem: (index) => idempotencyKeyOf("batch", key, index, ...own) };
}

/** Whether a request with this Idempotency-Key has begun a batch. A repetition joins it, also when its orchestration was deleted since. */
export async function hasBegun(
  sql: Sql,
  { tenant, key }: Pick<BatchRequest, "tenant" | "key">,
): Promise<boolean> {
  return key !== null && (await findIdempotent(sql, tenant, idempotencyKeyOf("batch", key))) !== null;
}

/** The id of the first batch of an Idempotency-Key. Edges of earlier versions give it to each batch of the key. */
async function firstBatchOf(tenant: TenantId, orchestration: string, key: string): Promise<BatchId> {
  const digest = await digestOf("SHA-256", JSON.stringify([tenant, orchestration, key]));
  return BatchId.parse(`batch_${digest.slice(0, 24)}`);
}

function otherBatch({ total, orchestration_id }: { total: number; orchestration_id: string }): AppError {
  return new AppError(
    "idempotency_conflict",
    `This Idempotency-Key was used with a batch of ${total} items of ${orchestration_id}; use a new one for another batch.`,
  );
}
