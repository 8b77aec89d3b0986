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
 * A tenant whose objects of before `before` are to be deleted, the next one after the key `after`. `left_before`: some up to this key
 * could not be deleted.
 */
type PurgedTenant = {
  tenant_id: string;
  before: string;
  before_ms: number;
  after: string | null;
  left_before: boolean;
};

/**
 * Part of the periodic work: deletes the objects of purged tenants. When a tenant was created anew under the same id, its objects
 * are younger than the purge, and stay. Objects that cannot be deleted stop neither the deletion of others nor other tenants: each
 * call takes tenants at random, and continues after the objects that the call before has seen. After the last object of a tenant it
 * begins again at the first while some are left (`objects_left`). The end does not count for a purge that came meanwhile.
 * @throws an error with which an object could not be deleted, after all else was done
 */
export async function deleteObjectsOfTenants(sql: Sql, buckets: readonly ObjectBucket[]): Promise<void> {
  const tenants = await sql<PurgedTenant[]>`
    select tenant_id, objects_before::text as before, extract(epoch from objects_before)::float8 * 1000 as before_ms,
      objects_after as after, objects_left as left_before
    from tenants where objects_before is not null order by random() limit ${MAX_TENANTS}`;
  const purge = async ({
    tenant_id: tenant,
    before,
    before_ms,
    after,
    left_before,
  }: PurgedTenant): Promise<boolean> => {
    const passes = await Promise.all(
      buckets.map((bucket) => deleteBelow(bucket, `${tenant}/`, before_ms, after ?? undefined)),
    );
    const [next = null] = passes.flatMap((pass) => pass.after ?? []).toSorted();
    const errors = passes.flatMap((pass) => pass.errors);
    const isLeft = left_before || errors.length > 0;
    const isDone = next === null && !isLeft;
    await sql`
      update tenants set objects_after = ${next}, objects_left = ${next !== null && isLeft},
        objects_before = case when not ${isDone} then objects_before end
      where tenant_id = ${tenant} and objects_before::text = ${before}`;
    if (isDone) log.info("tenant.objects_deleted", { tenant });
    if (errors.length > 0) throw errors[0];
    return !isDone;
  };
  await partsInTurn(tenants.map((tenant) => [tenant.tenant_id, () => purge(tenant)] as const));
}

/**
 * Deletes the objects that are older than `beforeMs`, 20 pages at most.
 * @returns the last key of these pages (undefined: there is no page after them), and an error for each page with objects that could not
 * be deleted
 */
async function deleteBelow(
  bucket: ObjectBucket,
  prefix: string,
  beforeMs: number,
  begin: string | undefined,
): Promise<{ after: string | undefined; errors: unknown[] }> {
  const errors: unknown[] = [];
  let after = begin;
  for (let page = 0; page < MAX_PAGES; page++) {
    const { objects, hasMore } = await bucket.list(prefix, after, PAGE);
    const old = objects.filter(({ storedMs }) => storedMs < beforeMs);
    if (old.length > 0)
      await bucket.delete(old.map(({ key }) => key)).catch((error: unknown) => errors.push(error));
    after = hasMore ? objects.at(-1)?.key : undefined;
    if (after === undefined) break;
  }
  return { after, errors };
}
