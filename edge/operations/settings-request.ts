import { z } from "zod";
import { SECRET_SETTINGS, secretText, settingPlace } from "../../shared/contracts/setting.ts";
import type { SettingName } from "../../shared/contracts/setting.ts";
import { seal } from "../../shared/security/seal.ts";
import type { MasterKeys } from "../../shared/security/master-keys.ts";
import { invalidFields } from "../http/problem.ts";

const most = z.number().int().min(1).max(1_000_000_000);

/** `*`, or an origin as browsers send it: no path, no slash at the end. */
const Origin = z
  .string()
  .max(300)
  .refine(
    (text) => text === "*" || (URL.canParse(text) && new URL(text).origin === text),
    "must be * or an origin such as https://app.example.com, without a path",
  );

/** A change of settings. A setting that is absent stays; null removes a setting, and its variable holds again. */
export const SettingsChange = z
  .object({
    SCALE_MODE: z
      .boolean()
      .nullable()
      .meta({ description: "false: requests that start a run are answered when it has ended" }),
    RATE_LIMIT_PER_TENANT_RPS: most
      .nullable()
      .meta({ description: "Requests a second of a new tenant whose request names none" }),
    MAX_GLOBAL_QUEUE_DEPTH: most
      .nullable()
      .meta({ description: "Runs that may be queued in all; beyond it a 503 `capacity`" }),
    CORS_ORIGINS: z
      .array(Origin)
      .min(1)
      .max(100)
      .nullable()
      .meta({ description: "Origins whose pages may call the API; `*`: any" }),
    METRICS_TOKEN: secretText.nullable().meta({
      description: "The bearer of scrapers. Write-only; needs MASTER_KEY, under which it is stored",
    }),
  } satisfies Record<SettingName, z.ZodType>)
  .partial()
  .refine((change) => Object.keys(change).length > 0, "must name at least one setting")
  .meta({ id: "SettingsChange" });
export type SettingsChange = z.infer<typeof SettingsChange>;

/** The change as it is stored. @throws AppError `invalid` for a secret without MASTER_KEY */
export async function storedSettings(
  change: SettingsChange,
  key: MasterKeys | undefined,
): Promise<{ name: string; value: string | null }[]> {
  const stored: { name: string; value: string | null }[] = [];
  for (const [name, value] of Object.entries(change)) {
    if (value === undefined) continue;
    const text = value === null ? null : textOf(value);
    const isSecret = text !== null && SECRET_SETTINGS.has(name);
    stored.push({ name, value: isSecret ? await sealed(name, text, key) : text });
  }
  return stored;
}

/** The value as a variable of the environment writes it. */
function textOf(value: boolean | number | string | string[]): string {
  if (typeof value === "boolean") return value ? "1" : "0";
  return Array.isArray(value) ? value.join(",") : String(value);
}

function sealed(name: string, text: string, key: MasterKeys | undefined): Promise<string> {
  if (key !== undefined) return seal(key, text, settingPlace(name));
  const message = "is a secret, and this edge has no MASTER_KEY to seal it: set MASTER_KEY first";
  throw invalidFields([{ path: name, message }]);
}
