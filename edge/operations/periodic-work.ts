import { log } from "../../shared/log.ts";
import { masterKeysOf } from "../../shared/security/master-keys.ts";
import { readSettings } from "../../shared/store/settings.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { openDatabase } from "../clients/postgres.ts";
import type { DatabaseEnv } from "../clients/postgres.ts";
import { readConfig } from "../env.ts";
import type { Env } from "../env.ts";
import { bucketsToPurge, deleteObjectsOfTenants } from "./delete-objects.ts";
import { deleteExpiredIdempotencyKeys } from "./delete-idempotency-keys.ts";
import { sealTools } from "./seal-tools.ts";

type PeriodicEnv = DatabaseEnv & Pick<Env, "ARTIFACTS">;

const parts: Record<string, (sql: Sql, env: PeriodicEnv) => Promise<void>> = {
  delete_idempotency_keys: deleteExpiredIdempotencyKeys,
  seal_tools: async (sql, env) => {
    const keys = masterKeysOf(readConfig(env));
    if (keys) await sealTools(sql, keys);
  },
  // The last one: a bucket that does not answer delays no other part.
  delete_objects: async (sql, env) => {
    const buckets = await bucketsToPurge(env, readConfig(env), await readSettings(sql));
    if (buckets !== null) await deleteObjectsOfTenants(sql, buckets);
  },
};

/**
 * The edge's own periodic work, every 15 minutes. Schedules do not start here: workers start them. Each part is bounded,
 * and continues the next time. A part that fails, for example
 * because a bucket is away, does not stop the others.
 * @throws when parts have failed: the platform then shows its cron trigger as failed
 */
export async function doPeriodicWork(env: PeriodicEnv): Promise<void> {
  const sql = openDatabase(env, 1);
  const failed: string[] = [];
  for (const [part, work] of Object.entries(parts)) {
    await work(sql, env).catch((error: unknown) => {
      failed.push(part);
      log.error("cron.part_failed", { part, message: error instanceof Error ? error.message : "unknown" });
    });
  }
  if (failed.length > 0) throw new Error(`parts of the periodic work have failed: ${failed.join(", ")}`);
}
