import { openDatabase } from "../clients/postgres.ts";
import type { Env } from "../env.ts";
import { log } from "../log.ts";

/** Keys a statement deletes at most, and statements a tick makes at most. */
const PAGE = 5_000;
const PAGES = 20;

/** The cron tick: forgets idempotency keys that are older than the 24 hours they count for. */
export async function forgetOldKeys(env: Env): Promise<void> {
  const sql = openDatabase(env, 1);
  let forgotten = 0;
  for (let page = 0; page < PAGES; page++) {
    const { count } = await sql`
      delete from idempotency_keys where (tenant_id, key) in (
        select tenant_id, key from idempotency_keys
        where created_at < now() - interval '24 hours' order by created_at limit ${PAGE})
        and created_at < now() - interval '24 hours'`;
    forgotten += count;
    if (count < PAGE) break;
  }
  if (forgotten > 0) log.info("idempotency_keys.forgotten", { count: forgotten });
}
