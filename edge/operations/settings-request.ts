import { z } from "zod";
import { S3_REQUIRED } from "../../shared/contracts/s3-bucket.ts";
import { Origin } from "../../shared/contracts/origin.ts";
import {
  S3_SETTINGS,
  SECRET_SETTINGS,
  settingPlace,
  settingSchemas,
} from "../../shared/contracts/setting.ts";
import type { SettingName, StoredSetting } from "../../shared/contracts/setting.ts";
import type { FieldError } from "../../shared/errors.ts";
import { isBadPort } from "../../shared/security/egress-policy.ts";
import { seal } from "../../shared/security/seal.ts";
import type { MasterKeys } from "../../shared/security/master-keys.ts";
import type { Config } from "../env.ts";
import { invalidFields } from "../http/problem.ts";
import { endpointFaultOf } from "./s3-test.ts";
import { variableText } from "./variable-text.ts";

const most = z.number().int().min(1).max(1_000_000_000);

/** A text that the setting's own schema accepts. */
const textFor = (name: SettingName) =>
  z
    .string()
    .max(2_000)
    .check(({ value, issues }) => {
      const issue = settingSchemas[name].safeParse(value).error?.issues[0];
      if (issue) issues.push({ code: "custom", input: value, message: issue.message });
    })
    .nullable();

const TOGETHER = "S3_BUCKET, S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY are set together";

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
    METRICS_TOKEN: settingSchemas.METRICS_TOKEN.nullable().meta({
      description: "The bearer of scrapers. Write-only; needs MASTER_KEY, under which it is stored",
    }),
    OTLP_ENDPOINT: textFor("OTLP_ENDPOINT").meta({
      description:
        "The collector of traces by OTLP over gRPC; edges send to its port 4318 over HTTP where it names 4317. `off`: nothing is traced",
    }),
    OTLP_HTTP_ENDPOINT: textFor("OTLP_HTTP_ENDPOINT").meta({
      description: "The collector of edges by OTLP over HTTP, where it is not that of OTLP_ENDPOINT",
    }),
    S3_ENDPOINT: textFor("S3_ENDPOINT").meta({
      description: "The object store of edges and workers. Not set beside S3_BUCKET: Amazon S3",
    }),
    S3_BUCKET: textFor("S3_BUCKET").meta({
      description: `Its bucket, with which the settings of the object store hold in place of the variables and of the binding ARTIFACTS. ${TOGETHER}`,
    }),
    S3_REGION: textFor("S3_REGION").meta({
      description: "Its region. Not set beside S3_BUCKET: `auto` for Cloudflare R2, else `us-east-1`",
    }),
    S3_ACCESS_KEY_ID: textFor("S3_ACCESS_KEY_ID").meta({
      description: "Write-only; needs MASTER_KEY, under which it is stored",
    }),
    S3_SECRET_ACCESS_KEY: textFor("S3_SECRET_ACCESS_KEY").meta({
      description: "Write-only; needs MASTER_KEY, under which it is stored",
    }),
  } satisfies Record<SettingName, z.ZodType>)
  .partial()
  .refine((change) => Object.keys(change).length > 0, "must name at least one setting")
  .meta({ id: "SettingsChange" });
export type SettingsChange = z.infer<typeof SettingsChange>;

/**
 * Checks what a schema cannot know: the hosts that this edge may connect to, and the settings that hold together.
 * @param stored the settings before the change
 * @throws AppError `invalid` that names each wrong setting
 */
export function checkSettings(
  change: SettingsChange,
  stored: readonly Pick<StoredSetting, "name">[],
  config: Config,
): void {
  const collectors = (["OTLP_ENDPOINT", "OTLP_HTTP_ENDPOINT"] as const).flatMap((path): FieldError[] => {
    const message = collectorFaultOf(config, change[path]);
    return message === null ? [] : [{ path, message }];
  });
  const endpoint = change.S3_ENDPOINT ? endpointFaultOf(config, change.S3_ENDPOINT) : null;
  const endpoints = endpoint === null ? [] : [{ path: "S3_ENDPOINT", message: endpoint.message }];
  const wrong = [...collectors, ...endpoints, ...missingOf(change, stored)];
  if (wrong.length > 0) throw invalidFields(wrong);
}

/** Why no spans may be sent to this collector; null: they may, or there is none. The addresses behind a name are not checked. */
function collectorFaultOf({ EGRESS_ALLOW }: Config, given: string | null | undefined): string | null {
  if (given === null || given === undefined || !URL.canParse(given)) return null;
  const { hostname, port } = new URL(given);
  if (isBadPort(port)) return `has the port ${port}, which is for another protocol`;
  if (EGRESS_ALLOW.refuses(hostname)) return "names a private address: add it to EGRESS_ALLOW";
  return null;
}

/** The settings of the object store that would be missing beside the others. */
function missingOf(change: SettingsChange, stored: readonly Pick<StoredSetting, "name">[]): FieldError[] {
  const names = new Set(stored.map(({ name }) => name));
  for (const [name, value] of Object.entries(change)) {
    if (value === null) names.delete(name);
    else names.add(name);
  }
  if (!S3_SETTINGS.some((name) => names.has(name))) return [];
  const missing = S3_REQUIRED.filter((name) => !names.has(name));
  return missing.map((path) => ({ path, message: `is missing: ${TOGETHER}` }));
}

/** The change as it is stored. @throws AppError `invalid` for a secret without MASTER_KEY */
export async function storedSettings(
  change: SettingsChange,
  key: MasterKeys | undefined,
): Promise<{ name: string; value: string | null }[]> {
  const stored: { name: string; value: string | null }[] = [];
  for (const [name, value] of Object.entries(change)) {
    if (value === undefined) continue;
    const text = value === null ? null : variableText(value);
    const isSecret = text !== null && SECRET_SETTINGS.has(name);
    stored.push({ name, value: isSecret ? await sealed(name, text, key) : text });
  }
  return stored;
}

function sealed(name: string, text: string, key: MasterKeys | undefined): Promise<string> {
  if (key !== undefined) return seal(key, text, settingPlace(name));
  const message = "is a secret, and this edge has no MASTER_KEY to seal it: set MASTER_KEY first";
  throw invalidFields([{ path: name, message }]);
}
