import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs } from "../../http/middleware/principal.ts";
import { TenantQuery, tenantOfQuery } from "../../schedules/schedule-view.ts";
import { TriggerView, findTrigger, viewOfTrigger } from "../../triggers/trigger-view.ts";

const route = createRoute({
  method: "get",
  path: "/api/v2/triggers/{id}",
  operationId: "getTrigger",
  tags: ["Schedules"],
  summary: "Read a trigger",
  security: [{ key: ["runs:read"] }],
  middleware: [needs("runs:read")] as const,
  request: { params: z.object({ id: z.string() }), query: TenantQuery },
  responses: { 200: json(TriggerView, "The trigger, without its secret"), ...problems(404) },
});

export function getTrigger(api: Api): void {
  api.openapi(route, async (c) => {
    const services = c.get("services");
    const tenant = tenantOfQuery(c.get("principal"), c.req.valid("query").tenant_id, services);
    return c.json(viewOfTrigger(await findTrigger(services.sql, tenant, c.req.valid("param").id)), 200);
  });
}
