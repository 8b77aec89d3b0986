import { z } from "zod";
import { RunId } from "../../contracts/ids.ts";
import type { TenantId } from "../../contracts/ids.ts";
import { DeliveryId, DeliveryOutcome, DeliveryType } from "../../contracts/webhook.ts";
import type { Sql } from "../sql.ts";

/** A delivery as operators see it, without its secret. Times in milliseconds since 1970. */
const DeliveryRow = z.object({
  delivery_id: DeliveryId,
  run_id: RunId,
  tenant_id: z.string(),
  orchestration_id: z.string(),
  type: DeliveryType,
  endpoint_id: z.string().nullable(),
  url: z.string(),
  signed: z.boolean(),
  outcome: DeliveryOutcome.nullable(),
  tries: z.number(),
  last_status: z.number().nullable(),
  last_error: z.string().nullable(),
  created_at_ms: z.number(),
  next_at_ms: z.number().nullable(),
  expires_at_ms: z.number(),
  done_at_ms: z.number().nullable(),
});
export type DeliveryRow = z.infer<typeof DeliveryRow>;

const columns = (sql: Sql) => sql`
  delivery_id, run_id, tenant_id, orchestration_id, type, endpoint_id, url, secret is not null as signed, outcome, tries,
  last_status, last_error,
  extract(epoch from created_at)::float8 * 1000 as created_at_ms,
  extract(epoch from next_at)::float8 * 1000 as next_at_ms,
  extract(epoch from expires_at)::float8 * 1000 as expires_at_ms,
  extract(epoch from done_at)::float8 * 1000 as done_at_ms`;

/** Selects deliveries. Null: any. `pending`: without an outcome yet. */
export type DeliveryFilter = {
  tenant: TenantId | null;
  run: RunId | null;
  outcome: DeliveryOutcome | "pending" | null;
  type: DeliveryType | null;
  /** Of `tenant`. */
  endpoint: string | null;
};

/** Conditions with literals. With a parameter Postgres cannot see which of its partial indexes fits. */
const hasOutcome = (sql: Sql) => ({
  pending: sql`and done_at is null`,
  delivered: sql`and outcome = 'delivered'`,
  rejected: sql`and outcome = 'rejected'`,
  expired: sql`and outcome = 'expired'`,
});

/**
 * A page of deliveries, the newest first.
 * @param before the last delivery of the page before; null: the first page
 */
export async function listDeliveries(
  sql: Sql,
  { tenant, run, outcome, type, endpoint }: DeliveryFilter,
  before: string | null,
  limit: number,
): Promise<DeliveryRow[]> {
  // Only the conditions that the filter names, so that each list uses the index that is made for it.
  const rows = await sql`
    select ${columns(sql)}
    from webhook_deliveries
    where true
      ${tenant === null ? sql`` : sql`and tenant_id = ${tenant}`}
      ${run === null ? sql`` : sql`and run_id = ${run}`}
      ${type === null ? sql`` : sql`and type = ${type}`}
      ${endpoint === null ? sql`` : sql`and endpoint_id = ${endpoint}`}
      ${outcome === null ? sql`` : hasOutcome(sql)[outcome]}
      ${
        before === null
          ? sql``
          : sql`and (created_at, delivery_id) < (
              select b.created_at, b.delivery_id from webhook_deliveries b where b.delivery_id = ${before})`
      }
    order by created_at desc, delivery_id desc limit ${limit}`;
  return rows.map((row) => DeliveryRow.parse(row));
}

/** A delivery; null: that tenant has none with this id. @param tenant null: any tenant, for a platform key */
export async function readDelivery(
  sql: Sql,
  tenant: TenantId | null,
  id: string,
): Promise<DeliveryRow | null> {
  const [row] = await sql`
    select ${columns(sql)} from webhook_deliveries
    where delivery_id = ${id} and (${tenant}::text is null or tenant_id = ${tenant})`;
  return row ? DeliveryRow.parse(row) : null;
}

/**
 * Makes a delivery due again, for another 24 hours. Null when that tenant has no such delivery, or it
 * goes to an endpoint that is disabled or was deleted.
 *
 * A delivery that is being sent at this moment is sent once more: the new value of `tries` fences the sender, so its
 * result is not saved.
 * @param tenant null: any tenant, for a platform key
 */
export async function redeliver(sql: Sql, tenant: TenantId | null, id: string): Promise<DeliveryRow | null> {
  const [row] = await sql`
    update webhook_deliveries d set outcome = null, done_at = null, failures = 0,
      expires_at = now() + interval '24 hours', next_at = now(), sending = false, tries = tries + 1
    where delivery_id = ${id} and (${tenant}::text is null or tenant_id = ${tenant})
      and (endpoint_id is null or exists (
        select from webhook_endpoints e
        where e.tenant_id = d.tenant_id and e.endpoint_id = d.endpoint_id and e.disabled_at is null))
    returning ${columns(sql)}`;
  return row ? DeliveryRow.parse(row) : null;
}
