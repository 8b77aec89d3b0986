import { masterKeysOf } from "../../shared/security/master-keys.ts";
import { readSettings } from "../../shared/store/settings.ts";
import { openDatabase } from "../clients/postgres.ts";
import { readConfig } from "../env.ts";
import type { Env } from "../env.ts";
import { bucketsToPurge, deleteObjectsOfTenants } from "./delete-objects.ts";
import { deleteExpiredIdempotencyKeys } from "./delete-idempotency-keys.ts";
import { sealTools } from "./seal-tools.ts";

/** The edge's own periodic work, every 15 minutes. Each part is bounded, and continues in the next tick. */
export async function cronTick(env: Env): Promise<void> {
  const variables = readConfig(env);
  const keys = masterKeysOf(variables);
  const sql = openDatabase(env, 1);
  await deleteExpiredIdempotencyKeys(sql);
  const buckets = await bucketsToPurge(env, variables, await readSettings(sql));
  if (buckets !== null) await deleteObjectsOfTenants(sql, buckets);
  if (keys) await sealTools(sql, keys);
}
