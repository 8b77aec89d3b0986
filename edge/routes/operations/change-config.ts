import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { AppError } from "../../../shared/errors.ts";
import { masterKeysOf } from "../../../shared/security/master-keys.ts";
import { readSettings, readSettingsVersion, saveSettings } from "../../../shared/store/settings.ts";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { audited } from "../../http/middleware/audited.ts";
import { jsonBody } from "../../http/middleware/json-body.ts";
import { needsPlatform } from "../../http/middleware/principal.ts";
import { ConfigView, configOf } from "../../operations/config-view.ts";
import { changedBucketOf, checkBucket } from "../../operations/changed-bucket.ts";
import { SettingsChange, checkSettings, storedSettings } from "../../operations/settings-request.ts";

const NAMES = { put: "saveConfig", patch: "changeConfig" } as const;

/** How often the settings are read again, because another change was saved meanwhile: a change is checked beside the others. */
const MAX_TRIES = 5;

const routeAt = (prefix: string, method: "put" | "patch") =>
  createRoute({
    method,
    path: `${prefix}/config`,
    operationId: operationIdAt(prefix, NAMES[method]),
    tags: ["Operations"],
    summary: "Change settings while the system runs",
    description:
      "A setting has precedence over the variable of the same name. Settings that the request does not name stay; null removes " +
      "one, and its variable holds again. A change acts within 5 s on all edges, and on workers where `live` says so. A new object store is tested first, as by `test-s3`, and one that refuses or is not reached is a 422; it gets what is written from then on, and objects are not moved. All of the change is saved, or " +
      "none of it. PUT and PATCH do the same.",
    security: [{ key: ["admin"] }],
    middleware: [
      needsPlatform("admin"),
      jsonBody({ schema: SettingsChange }),
      audited(NAMES[method]),
    ] as const,
    request: { body: { required: true, content: { "application/json": { schema: SettingsChange } } } },
    responses: {
      200: json(z.array(ConfigView), "The variables and settings after the change"),
      ...problems(400, 409, 413, 415, 422),
    },
  });

export const changeConfig = (prefix: string, method: "put" | "patch") => (api: Api) => {
  api.openapi(routeAt(prefix, method), async (c) => {
    const { sql, config, expireLiveValues, tryS3 } = c.get("services");
    const change = c.req.valid("json");
    c.set("audit", { target: Object.keys(change).join(" "), tenant: null });
    const keys = masterKeysOf(config);
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const seen = await readSettingsVersion(sql);
      const before = await readSettings(sql);
      checkSettings(change, before, config);
      const changed = await storedSettings(change, keys);
      const bucket = await changedBucketOf(before, changed, keys);
      if (bucket !== null) await checkBucket(bucket, tryS3);
      if (!(await saveSettings(sql, changed, c.get("principal").key_id, seen))) continue;
      expireLiveValues();
      return c.json(configOf(c.env, await readSettings(sql)), 200);
    }
    throw new AppError("conflict", "Other requests change the settings at the same time; try again.");
  });
};
