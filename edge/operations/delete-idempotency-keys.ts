import { log } from "../../shared/log.ts";
import type { Sql } from "../../shared/store/sql.ts";

/** The most keys that one statement deletes, and the most statements at one time. */
const PAGE = 5_000;
const MAX_PAGES = 20;

/** Part of the periodic work: deletes idempotency keys older than the 24 hours for which they are valid. */
export async function deleteExpiredIdempotencyKeys(sql: Sql): Promise<void> {
  let deleted = 0;
  for (let page = 0; page < MAX_PAGES; page++) {
    const { count } = await sql`
      delete from idempotency_keys where (tenant_id, key) in (
        select tenant_id, key from idempotency_keys
        where created_at < now() - interval '24 hours' order by created_at limit ${PAGE})
        and created_at < now() - interval '24 hours'`;
    deleted += count;
    if (count < PAGE) break;
  }
  if (deleted > 0) log.info("idempotency_keys.deleted", { count: deleted });
}
