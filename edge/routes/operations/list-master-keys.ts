import { createRoute } from "@hono/zod-openapi";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needsPlatform } from "../../http/middleware/principal.ts";
import { MasterKeysView, viewMasterKeys } from "../../operations/master-keys-view.ts";

const routeAt = (prefix: string) =>
  createRoute({
    method: "get",
    path: `${prefix}/master-keys`,
    operationId: operationIdAt(prefix, "listMasterKeys"),
    tags: ["Operations"],
    summary: "See which master keys are still in use",
    description:
      "The ids of the keys that seal secrets, never the keys. An old key may be removed from MASTER_KEYS when it has no values in a look " +
      "that began after every edge and worker had another key first.",
    security: [{ key: ["admin"] }],
    middleware: [needsPlatform("admin")] as const,
    responses: { 200: json(MasterKeysView, "The keys"), ...problems() },
  });

export const listMasterKeys = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const { sql, config } = c.get("services");
    return c.json(await viewMasterKeys(sql, config), 200);
  });
};
