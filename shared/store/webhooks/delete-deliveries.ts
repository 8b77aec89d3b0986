import { laneSettings } from "../../contracts/lane-settings.ts";
import { readLanes } from "../lanes/lane-rows.ts";
import type { PendingQuery, Row, Sql } from "../sql.ts";

/** The most deliveries with one kind of outcome that one call deletes. */
const BATCH = 10_000;

/**
 * Deletes deliveries that had their outcome longer ago than the lane `webhooks` keeps them, and of each tenant those beyond
 * the number that it keeps: the oldest ones. A tenant with a policy for its deliveries has its own time. A tenant's deliveries
 * never take the place of another one's.
 * @returns true when more may be left
 */
export async function deleteDeliveries(sql: Sql): Promise<boolean> {
  const keep = laneSettings("webhooks", await readLanes(sql));
  const counts = [
    await deleteOld(sql, sql`= 'delivered'`, keep.keep_completed_seconds),
    await deleteOld(sql, sql`in ('rejected', 'expired')`, keep.keep_failed_seconds),
    await deleteBeyond(sql, sql`= 'delivered'`, keep.keep_completed_count),
    await deleteBeyond(sql, sql`in ('rejected', 'expired')`, keep.keep_failed_count),
  ];
  return Math.max(...counts) >= BATCH;
}

async function deleteOld(sql: Sql, outcome: PendingQuery<Row[]>, seconds: number | null): Promise<number> {
  if (seconds === null) return 0;
  const { count } = await sql`
    delete from webhook_deliveries where delivery_id in (
      select delivery_id from webhook_deliveries d
      where created_at < now() - ${seconds} * interval '1 second' and done_at < now() - ${seconds} * interval '1 second'
        and outcome ${outcome}
        and not exists (select from tenants t where t.tenant_id = d.tenant_id and t.retention ? 'deliveries_days')
      order by created_at limit ${BATCH})`;
  return count;
}

async function deleteBeyond(sql: Sql, outcome: PendingQuery<Row[]>, most: number | null): Promise<number> {
  if (most === null) return 0;
  const { count } = await sql`
    with recursive of_tenants as (
      (select tenant_id from webhook_deliveries order by tenant_id limit 1)
      union all
      select (select d.tenant_id from webhook_deliveries d where d.tenant_id > t.tenant_id order by d.tenant_id limit 1)
      from of_tenants t where t.tenant_id is not null
    ), newest_beyond as (
      select n.tenant_id, n.created_at, n.delivery_id
      from of_tenants t cross join lateral (
        select d.tenant_id, d.created_at, d.delivery_id from webhook_deliveries d
        where d.tenant_id = t.tenant_id and d.outcome ${outcome}
        order by d.created_at desc, d.delivery_id desc offset ${most} limit 1
      ) n
    ), beyond as (
      select o.delivery_id
      from newest_beyond n cross join lateral (
        select d.delivery_id from webhook_deliveries d
        where d.tenant_id = n.tenant_id and d.outcome ${outcome}
          and (d.created_at, d.delivery_id) <= (n.created_at, n.delivery_id)
        order by d.created_at, d.delivery_id limit ${BATCH}
      ) o
      limit ${BATCH}
    )
    delete from webhook_deliveries d using beyond b where d.delivery_id = b.delivery_id`;
  return count;
}
