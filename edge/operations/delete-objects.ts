import type { StoredSetting } from "../../shared/contracts/setting.ts";
import { log } from "../../shared/log.ts";
import { masterKeysOf } from "../../shared/security/master-keys.ts";
import { openSettings } from "../../shared/security/open-settings.ts";
import type { Bucket } from "../clients/bucket.ts";
import { bucketsOf } from "../clients/buckets.ts";
import { withSettings } from "../env.ts";
import type { Config, Env } from "../env.ts";
import { partsInTurn } from "../../shared/store/parts-in-turn.ts";
import type { Sql } from "../../shared/store/sql.ts";

/** The most objects of one page, and the most pages and tenants at one time. */
const PAGE = 1_000;
const MAX_PAGES = 20;
const MAX_TENANTS = 20;

/** The methods of a bucket that are used here. */
export type ObjectBucket = Pick<Bucket, "list" | "delete">;

/**
 * The buckets from which the objects of purged tenants are deleted. Null: the settings name a bucket that this edge cannot use, for
 * example because it has another MASTER_KEY. Then the objects wait: in the other buckets alone they would count as deleted.
 */
export async function bucketsToPurge(
  env: Pick<Env, "ARTIFACTS">,
  variables: Config,
  stored: readonly StoredSetting[],
): Promise<Bucket[] | null> {
  const config = withSettings(variables, await openSettings(stored, masterKeysOf(variables), {}));
  if (config.s3 === null && stored.some(({ name }) => name === "S3_BUCKET")) return null;
  return bucketsOf(env, config);
}

/**
 * Part of the periodic work: deletes the objects of purged tenants. When a tenant was created anew under the same id, its objects
 * are younger than the purge, and stay. A tenant whose objects cannot be deleted does not stop the others.
 */
export async function deleteObjectsOfTenants(sql: Sql, buckets: readonly ObjectBucket[]): Promise<void> {
  const tenants = await sql<{ tenant_id: string; before_ms: number }[]>`
    select tenant_id, extract(epoch from objects_before)::float8 * 1000 as before_ms
    from tenants where objects_before is not null order by objects_before limit ${MAX_TENANTS}`;
  const purge = async (tenant: string, beforeMs: number): Promise<boolean> => {
    const deleted = await Promise.all(buckets.map((bucket) => deleteBelow(bucket, `${tenant}/`, beforeMs)));
    if (deleted.includes(false)) return true;
    await sql`update tenants set objects_before = null where tenant_id = ${tenant}`;
    log.info("tenant.objects_deleted", { tenant });
    return false;
  };
  await partsInTurn(
    tenants.map(({ tenant_id, before_ms }) => [tenant_id, () => purge(tenant_id, before_ms)] as const),
  );
}

/** Deletes the objects that are older than `beforeMs`, 20 pages at most. @returns true when none of them is left */
async function deleteBelow(bucket: ObjectBucket, prefix: string, beforeMs: number): Promise<boolean> {
  let after: string | undefined;
  for (let page = 0; page < MAX_PAGES; page++) {
    const { objects, hasMore } = await bucket.list(prefix, after, PAGE);
    const old = objects.filter(({ storedMs }) => storedMs < beforeMs);
    if (old.length > 0) await bucket.delete(old.map(({ key }) => key));
    if (!hasMore) return true;
    after = objects.at(-1)?.key;
  }
  return false;
}
