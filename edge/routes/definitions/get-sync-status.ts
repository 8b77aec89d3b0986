import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { countDefinitions } from "../../../shared/store/definitions/own-definitions.ts";
import { OwnerQuery } from "../../definitions/definition-request.ts";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs, tenantFilterOf } from "../../http/middleware/principal.ts";

const count = z.number().int();
const SyncStatus = z
  .object({
    available: z.literal(true),
    counts: z.object({
      orchestrations: count,
      agents: count,
      tools: count,
      mcp_servers: count,
      settings: count,
    }),
  })
  .meta({ id: "SyncStatus" });

const routeAt = (prefix: string) =>
  createRoute({
    method: "get",
    path: `${prefix}/sync/status`,
    operationId: operationIdAt(prefix, "getSyncStatus"),
    tags: ["Definitions"],
    summary: "Count the stored definitions",
    description:
      "The definitions that a tenant itself has; with a platform key and without `tenant_id` those of all owners. `settings` is 0: those of the predecessor are not imported, and its clients read the field.",
    security: [{ key: ["admin"] }],
    middleware: [needs("admin")] as const,
    request: { query: OwnerQuery },
    responses: { 200: json(SyncStatus, "The counts"), ...problems() },
  });

export const getSyncStatus = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const owner = tenantFilterOf(c.get("principal"), c.req.valid("query").tenant_id);
    const counts = await countDefinitions(c.get("services").sql, owner);
    return c.json({ available: true as const, counts: { ...counts, settings: 0 } }, 200);
  });
};
