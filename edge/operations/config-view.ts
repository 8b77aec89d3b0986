import { z } from "zod";
import { MASK } from "../../shared/contracts/definition/tool-secrets.ts";
import { LANE_DEFAULTS, settingsOf } from "../../shared/contracts/lane-settings.ts";
import type { ChangedLanes } from "../../shared/contracts/lane-settings.ts";
import { Lane } from "../../shared/contracts/run.ts";
import {
  S3_SETTINGS,
  SECRET_SETTINGS,
  SettingName,
  WORKER_SETTINGS,
} from "../../shared/contracts/setting.ts";
import type { StoredSetting } from "../../shared/contracts/setting.ts";
import { readConfig, replacedBy, secretNames, variableNames } from "../env.ts";
import type { Config } from "../env.ts";
import { variableText } from "./variable-text.ts";

/** A variable of the edge, as operators see it. */
export const ConfigView = z
  .object({
    name: z.string(),
    /** Null: the variable is not set. Secrets are masked, and so are the credentials in a URL; its query is left out. */
    value: z.string().nullable(),
    /** `setting`: it was set by PUT or PATCH. */
    origin: z.enum(["setting", "environment", "default", "unset"]),
    secret: z.boolean(),
    /** The processes that apply a change within 5 s, without a restart. Empty: it is read when a process starts. */
    live: z.array(z.enum(["edges", "workers"])),
    /** The request or command that changes it. */
    change: z.string(),
  })
  .meta({ id: "ConfigVariable" });

/** Variables that hold an address with credentials: the address is shown, and the credentials are masked. */
const ADDRESSES: ReadonlySet<string> = new Set(["REDIS_URL", "UPSTASH_REDIS_REST_URL"]);

/**
 * Every variable of this edge with its effective value, and the settings of the object store. Without these the edge uses its binding
 * ARTIFACTS, and workers use their variables, which an edge does not know.
 * @param env the bindings and variables that the platform gives the Worker
 */
export function configOf(env: object, settings: readonly StoredSetting[]): z.infer<typeof ConfigView>[] {
  const values = new Map(Object.entries(readConfig(env)));
  const variables = new Map<string, unknown>(Object.entries(env));
  const set = new Map(settings.map(({ name, value }) => [name, value]));
  const replaced = replacedBy(set.keys());
  return [...variableNames, ...S3_SETTINGS].map((name) => {
    const setting = set.get(name);
    const raw = setting ?? (replaced.has(name) ? undefined : variables.get(name));
    const effective = typeof raw === "string" ? raw : replaced.has(name) ? null : textOf(values.get(name));
    const secret = secretNames.has(name) || SECRET_SETTINGS.has(name);
    return {
      name,
      value:
        effective === null
          ? null
          : secret
            ? MASK
            : ADDRESSES.has(name)
              ? withoutCredentials(effective)
              : effective,
      origin: originOf(setting, raw, effective),
      secret,
      live: isSetting(name)
        ? ["edges" as const, ...(workerSettings.has(name) ? ["workers" as const] : [])]
        : [],
      change: isSetting(name)
        ? `PATCH /scale/config {${JSON.stringify(name)}: …}`
        : secret || name === "REDIS_URL"
          ? `npx wrangler secret put ${name}`
          : `set ${name} under [vars] in wrangler.toml, then npx wrangler deploy`,
    };
  });
}

const workerSettings: ReadonlySet<string> = new Set(WORKER_SETTINGS);

/** The settings of all lanes, named `lanes.<lane>.<setting>`. Workers apply them; an edge only shows them. */
export function lanesOf(changed: ChangedLanes): z.infer<typeof ConfigView>[] {
  return Lane.options.flatMap((lane) =>
    settingsOf(lane).map((setting) => {
      const set = changed[lane]?.[setting];
      const value = set ?? LANE_DEFAULTS[lane][setting];
      return {
        name: `lanes.${lane}.${setting}`,
        value: value === null ? null : String(value),
        origin: set !== undefined ? "setting" : value === null ? "unset" : "default",
        secret: false,
        live: ["workers" as const],
        change: `PATCH /scale/queue/${lane} {"${setting}": …}`,
      };
    }),
  );
}

function isSetting(name: string): boolean {
  return SettingName.safeParse(name).success;
}

function originOf(
  setting: string | undefined,
  raw: unknown,
  effective: string | null,
): z.infer<typeof ConfigView>["origin"] {
  if (setting !== undefined) return "setting";
  if (typeof raw === "string") return "environment";
  return effective === null ? "unset" : "default";
}

/** The value of a variable as the environment would write it; null: it has none. */
function textOf(value: Config[keyof Config] | undefined): string | null {
  if (value === undefined || value === null) return null;
  return typeof value === "object" && !Array.isArray(value) ? "" : variableText(value);
}

function withoutCredentials(text: string): string {
  if (!URL.canParse(text)) return MASK;
  const url = new URL(text);
  const credentials = url.username || url.password ? `${MASK}@` : "";
  return `${url.protocol}//${credentials}${url.host}${url.pathname}`;
}
