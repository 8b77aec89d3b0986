import { s3BucketOf } from "../../shared/contracts/s3-bucket.ts";
import type { S3Bucket } from "../../shared/contracts/s3-bucket.ts";
import { S3_SETTINGS } from "../../shared/contracts/setting.ts";
import type { SettingName, StoredSetting } from "../../shared/contracts/setting.ts";
import type { MasterKeys } from "../../shared/security/master-keys.ts";
import { openSettings } from "../../shared/security/open-settings.ts";
import type { tryS3 } from "../clients/try-s3.ts";
import { S3Refusal } from "../clients/s3-request.ts";
import { invalidFields } from "../http/problem.ts";
import { DEFAULT_PREFIX, s3RefusalOf } from "./s3-test.ts";
import { testStore } from "./store-test.ts";

const names: ReadonlySet<string> = new Set(S3_SETTINGS);

/** The bucket that a change of settings brings; null: it changes none, or the settings name none after it. */
export async function changedBucketOf(
  before: readonly StoredSetting[],
  changes: readonly { name: string; value: string | null }[],
  key: MasterKeys | undefined,
): Promise<S3Bucket | null> {
  if (!changes.some(({ name }) => names.has(name))) return null;
  const after = new Map(before.map(({ name, value }) => [name, value]));
  for (const { name, value } of changes) {
    if (value === null) after.delete(name);
    else after.set(name, value);
  }
  const stored = Array.from(after, ([name, value]) => ({ name, value })).filter(({ name }) =>
    names.has(name),
  );
  return s3BucketOf(await openSettings(stored, key, {}));
}

/** The settings that a store's refusal is about, by S3's name of the error. Any other refusal is about the bucket. */
const SETTING_OF: Record<string, SettingName> = {
  InvalidAccessKeyId: "S3_ACCESS_KEY_ID",
  SignatureDoesNotMatch: "S3_SECRET_ACCESS_KEY",
  AuthorizationHeaderMalformed: "S3_REGION",
  PermanentRedirect: "S3_REGION",
};

/**
 * Tests a bucket before it is saved: with a wrong one every run with a large value would fail.
 * @throws AppError `invalid` that names the setting to repair
 */
export async function checkBucket(bucket: S3Bucket, test: typeof tryS3): Promise<void> {
  let path: SettingName = "S3_ENDPOINT";
  const { status, message } = await testStore(
    () => test({ ...bucket, prefix: DEFAULT_PREFIX }),
    (error) => {
      if (error instanceof S3Refusal && error.status >= 300)
        path = SETTING_OF[error.code] ?? (error.status === 401 ? "S3_ACCESS_KEY_ID" : "S3_BUCKET");
      return s3RefusalOf(error);
    },
  );
  if (status === "error") throw invalidFields([{ path, message: `cannot be used. ${message}` }]);
}
