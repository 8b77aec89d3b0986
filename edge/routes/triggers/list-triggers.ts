import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { listTriggers as list } from "../../../shared/store/triggers/trigger-rows.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs } from "../../http/middleware/principal.ts";
import { PageQuery, nextCursor } from "../../http/paging.ts";
import { TenantQuery, tenantOfQuery } from "../../schedules/schedule-view.ts";
import { TriggerView, viewOfTrigger } from "../../triggers/trigger-view.ts";

const Triggers = z
  .object({ data: z.array(TriggerView), next_cursor: z.string().nullable() })
  .meta({ id: "Triggers" });

const route = createRoute({
  method: "get",
  path: "/api/v2/triggers",
  operationId: "listTriggers",
  tags: ["Schedules"],
  summary: "List the triggers of a tenant",
  description: "Ordered by id, without their secrets.",
  security: [{ key: ["runs:read"] }],
  middleware: [needs("runs:read")] as const,
  request: { query: TenantQuery.extend(PageQuery.shape) },
  responses: { 200: json(Triggers, "The triggers"), ...problems() },
});

export function listTriggers(api: Api): void {
  api.openapi(route, async (c) => {
    const services = c.get("services");
    const { tenant_id, cursor, limit } = c.req.valid("query");
    const tenant = tenantOfQuery(c.get("principal"), tenant_id, services);
    const rows = await list(services.sql, tenant, cursor, limit);
    const next_cursor = nextCursor(rows, limit, (row) => row.trigger_id);
    return c.json({ data: rows.map(viewOfTrigger), next_cursor }, 200);
  });
}
