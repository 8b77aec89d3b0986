import { z } from "zod";
import { RunId } from "../../contracts/ids.ts";
import type { TenantId } from "../../contracts/ids.ts";
import { DeliveryId, DeliveryOutcome, DeliveryType } from "../../contracts/webhook.ts";
import { pgArray } from "../sql.ts";
import type { PendingQuery, Row, Sql } from "../sql.ts";

/** What a delivery takes of its run's row `r`: for the `returning` of the statement that changes it. */
export function toldOfRun(sql: Sql) {
  return sql`r.status, r.tenant_id, r.orchestration_id, r.tokens, r.cost_micro_usd, r.started_at, r.ended_at,
        r.error, r.webhook_url, r.webhook_secret`;
}

/**
 * The part of a statement that ends or pauses runs which writes what is to be told of it: the delivery exists if and
 * only if the entry does.
 * @param changed the name of the CTE that has changed runs: `run_id`, `event_seq` and `toldOfRun`
 * @param asking those of them that wait for a human now
 */
export function writeDeliveries(sql: Sql, changed: PendingQuery<Row[]>, asking: readonly RunId[] = []) {
  return sql`, told_outside as (
      insert into webhook_deliveries (delivery_id, run_id, seq, tenant_id, orchestration_id, type, url, secret, status,
        tokens, cost_micro_usd, started_at, ended_at, error)
      select 'whd_' || substr(c.run_id, 5) || '_' || c.event_seq, c.run_id, c.event_seq, c.tenant_id, c.orchestration_id,
        'run.' || case when c.ended_at is null then 'waiting' else c.status end,
        c.webhook_url, c.webhook_secret, c.status, c.tokens, c.cost_micro_usd, c.started_at, c.ended_at, c.error
      from ${changed} c
      where c.webhook_url is not null
        and (c.ended_at is not null or c.run_id = any(${pgArray(asking)}::text[]))
      returning run_id
    )`;
}

/** A delivery as operators see it: never its secret. Times in milliseconds since 1970. */
const DeliveryRow = z.object({
  delivery_id: DeliveryId,
  run_id: RunId,
  tenant_id: z.string(),
  orchestration_id: z.string(),
  type: DeliveryType,
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
  delivery_id, run_id, tenant_id, orchestration_id, type, url, secret is not null as signed, outcome, tries,
  last_status, last_error,
  extract(epoch from created_at)::float8 * 1000 as created_at_ms,
  extract(epoch from next_at)::float8 * 1000 as next_at_ms,
  extract(epoch from expires_at)::float8 * 1000 as expires_at_ms,
  extract(epoch from done_at)::float8 * 1000 as done_at_ms`;

/** `pending`: no outcome yet. */
export type DeliveryFilter = {
  tenant: TenantId | null;
  run: RunId | null;
  outcome: DeliveryOutcome | "pending" | null;
};

/** In so many words: a parameter would hide from Postgres which of its partial indexes fits. */
const isOutcome = (sql: Sql) => ({
  pending: sql`and done_at is null`,
  delivered: sql`and outcome = 'delivered'`,
  rejected: sql`and outcome = 'rejected'`,
  expired: sql`and outcome = 'expired'`,
});

/** A page of deliveries, the newest first; older than `before` (null: from the start). */
export async function listDeliveries(
  sql: Sql,
  { tenant, run, outcome }: DeliveryFilter,
  before: string | null,
  limit: number,
): Promise<DeliveryRow[]> {
  // Only the conditions that are asked for, so that each list has the index that is made for it.
  const rows = await sql`
    select ${columns(sql)}
    from webhook_deliveries
    where true
      ${tenant === null ? sql`` : sql`and tenant_id = ${tenant}`}
      ${run === null ? sql`` : sql`and run_id = ${run}`}
      ${outcome === null ? sql`` : isOutcome(sql)[outcome]}
      ${
        before === null
          ? sql``
          : sql`and (created_at, delivery_id) < (
              select b.created_at, b.delivery_id from webhook_deliveries b where b.delivery_id = ${before})`
      }
    order by created_at desc, delivery_id desc limit ${limit}`;
  return rows.map((row) => DeliveryRow.parse(row));
}

/**
 * Makes a delivery of a tenant (null: of any) due again, with 24 hours of its own. Null when there is none.
 *
 * One that is being sent at this moment is sent once more: what its sender hears is about what was before.
 */
export async function redeliver(sql: Sql, tenant: TenantId | null, id: string): Promise<DeliveryRow | null> {
  const [row] = await sql`
    update webhook_deliveries set outcome = null, done_at = null, failures = 0,
      expires_at = now() + interval '24 hours', next_at = now(), sending = false, tries = tries + 1
    where delivery_id = ${id} and (${tenant}::text is null or tenant_id = ${tenant})
    returning ${columns(sql)}`;
  return row ? DeliveryRow.parse(row) : null;
}
