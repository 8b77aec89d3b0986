import { log } from "../../shared/log.ts";
import type { Sql } from "../../shared/store/sql.ts";

/** The most objects of one page, and the most pages and tenants of one cron tick. */
const PAGE = 1_000;
const MAX_PAGES = 20;
const MAX_TENANTS = 20;

/** The methods of a bucket that are used here. */
export type ObjectBucket = Pick<R2Bucket, "list" | "delete">;

/**
 * Part of the cron tick: deletes the objects of purged tenants. When a tenant was created anew under the same id, its objects
 * are younger than the purge, and stay.
 */
export async function deleteObjectsOfTenants(sql: Sql, bucket: ObjectBucket | undefined): Promise<void> {
  const tenants = await sql<{ tenant_id: string; before_ms: number }[]>`
    select tenant_id, extract(epoch from objects_before)::float8 * 1000 as before_ms
    from tenants where objects_before is not null order by objects_before limit ${MAX_TENANTS}`;
  for (const { tenant_id, before_ms } of tenants) {
    if (bucket !== undefined && !(await deleteBelow(bucket, `${tenant_id}/`, before_ms))) continue;
    await sql`update tenants set objects_before = null where tenant_id = ${tenant_id}`;
    log.info("tenant.objects_deleted", { tenant: tenant_id });
  }
}

/** Deletes the objects that are older than `beforeMs`, 20 pages at most. @returns true when none of them is left */
async function deleteBelow(bucket: ObjectBucket, prefix: string, beforeMs: number): Promise<boolean> {
  let cursor: string | undefined;
  for (let page = 0; page < MAX_PAGES; page++) {
    const listed = await bucket.list({ prefix, limit: PAGE, ...(cursor !== undefined && { cursor }) });
    const old = listed.objects.filter(({ uploaded }) => uploaded.getTime() < beforeMs);
    if (old.length > 0) await bucket.delete(old.map(({ key }) => key));
    if (!listed.truncated) return true;
    cursor = listed.cursor;
  }
  return false;
}
