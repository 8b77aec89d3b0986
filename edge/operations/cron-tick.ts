import { masterKeysOf } from "../../shared/security/master-keys.ts";
import { openSettings } from "../../shared/security/open-settings.ts";
import { readSettings } from "../../shared/store/settings.ts";
import { bucketsOf } from "../clients/buckets.ts";
import { openDatabase } from "../clients/postgres.ts";
import { readConfig, withSettings } from "../env.ts";
import type { Env } from "../env.ts";
import { deleteObjectsOfTenants } from "./delete-objects.ts";
import { deleteExpiredIdempotencyKeys } from "./delete-idempotency-keys.ts";
import { sealTools } from "./seal-tools.ts";

/** The edge's own periodic work, every 15 minutes. Each part is bounded, and continues in the next tick. */
export async function cronTick(env: Env): Promise<void> {
  const variables = readConfig(env);
  const keys = masterKeysOf(variables);
  const sql = openDatabase(env, 1);
  await deleteExpiredIdempotencyKeys(sql);
  const config = withSettings(variables, await openSettings(await readSettings(sql), keys, {}));
  await deleteObjectsOfTenants(sql, bucketsOf(env, config));
  if (keys) await sealTools(sql, keys);
}
