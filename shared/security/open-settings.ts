import {
  S3_SETTINGS,
  SECRET_SETTINGS,
  SettingName,
  settingPlace,
  settingSchemas,
} from "../contracts/setting.ts";
import { S3_REQUIRED } from "../contracts/s3-bucket.ts";
import type { OpenSettings, StoredSetting } from "../contracts/setting.ts";
import { log, messageOf } from "../log.ts";
import { unseal } from "./seal.ts";
import type { MasterKeys } from "./master-keys.ts";

/**
 * The texts of the settings that this process can use, by name. A name that this version does not know is left out.
 *
 * Of a value that does not fit its schema, and of a secret that MASTER_KEY does not open, the process keeps the value of `before`: both are
 * logged, without the value. If one of the settings of the object store is such a value, or is missing, all of them are those of `before`:
 * the bucket of one change and the keys of another would fit no store.
 * @param before the texts that held until now
 */
export async function openSettings(
  stored: readonly StoredSetting[],
  key: MasterKeys | undefined,
  before: OpenSettings,
): Promise<OpenSettings> {
  const opened: OpenSettings = {};
  const unusable = new Set<SettingName>();
  for (const { name: text, value } of stored) {
    const name = SettingName.safeParse(text);
    if (!name.success) continue;
    try {
      const plain = SECRET_SETTINGS.has(name.data) ? await openSecret(name.data, value, key) : value;
      settingSchemas[name.data].parse(plain);
      opened[name.data] = plain;
    } catch (error) {
      log.warn("settings.not_usable", { name: name.data, error: messageOf(error) });
      unusable.add(name.data);
    }
  }
  const missing = S3_REQUIRED.find((name) => opened[name] === undefined && !unusable.has(name));
  const isPartial = missing !== undefined && S3_SETTINGS.some((name) => opened[name] !== undefined);
  if (isPartial) log.warn("settings.not_usable", { name: missing, error: "it is missing beside the others" });
  if (isPartial || S3_SETTINGS.some((name) => unusable.has(name)))
    for (const name of S3_SETTINGS) unusable.add(name);
  for (const name of unusable) {
    const old = before[name];
    if (old === undefined) delete opened[name];
    else opened[name] = old;
  }
  return opened;
}

function openSecret(name: SettingName, value: string, key: MasterKeys | undefined): Promise<string> {
  if (key === undefined) throw new Error("MASTER_KEY is not set, so a sealed setting cannot be opened");
  return unseal(key, value, settingPlace(name));
}
