import { SECRET_SETTINGS, SettingName, settingPlace, settingSchemas } from "../contracts/setting.ts";
import type { StoredSetting } from "../contracts/setting.ts";
import { log, messageOf } from "../log.ts";
import { unseal } from "./seal.ts";
import type { MasterKeys } from "./master-keys.ts";

/**
 * The texts of the settings that this process can use, by name. A name that this version does not know is left out. So is a value that
 * does not fit its schema, and a secret that MASTER_KEY does not open: both are logged, and the variable holds in their place.
 */
export async function openSettings(
  stored: readonly StoredSetting[],
  key: MasterKeys | undefined,
): Promise<Partial<Record<SettingName, string>>> {
  const opened: Partial<Record<SettingName, string>> = {};
  for (const { name: text, value } of stored) {
    const name = SettingName.safeParse(text);
    if (!name.success) continue;
    try {
      const plain = SECRET_SETTINGS.has(name.data) ? await openSecret(name.data, value, key) : value;
      settingSchemas[name.data].parse(plain);
      opened[name.data] = plain;
    } catch (error) {
      log.warn("settings.not_usable", { name: name.data, error: messageOf(error) });
    }
  }
  return opened;
}

function openSecret(name: SettingName, value: string, key: MasterKeys | undefined): Promise<string> {
  if (key === undefined) throw new Error("MASTER_KEY is not set, so a sealed setting cannot be opened");
  return unseal(key, value, settingPlace(name));
}
