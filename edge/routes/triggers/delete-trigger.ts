import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { TriggerId, deleteTrigger as remove } from "../../../shared/store/triggers/trigger-rows.ts";
import { problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs } from "../../http/middleware/principal.ts";
import { TenantQuery, tenantOfQuery } from "../../schedules/schedule-view.ts";
import { noTrigger } from "../../triggers/trigger-view.ts";

const route = createRoute({
  method: "delete",
  path: "/api/v2/triggers/{id}",
  operationId: "deleteTrigger",
  tags: ["Schedules"],
  summary: "Delete a trigger",
  description: "Its URL answers 404 from then on; its runs go on.",
  security: [{ key: ["runs:write"] }],
  middleware: [needs("runs:write")] as const,
  request: { params: z.object({ id: z.string() }), query: TenantQuery },
  responses: { 204: { description: "Deleted" }, ...problems(404) },
});

export function deleteTrigger(api: Api): void {
  api.openapi(route, async (c) => {
    const services = c.get("services");
    const tenant = tenantOfQuery(c.get("principal"), c.req.valid("query").tenant_id, services);
    const id = TriggerId.safeParse(c.req.valid("param").id);
    if (!id.success || !(await remove(services.sql, tenant, id.data))) throw noTrigger(tenant);
    return c.body(null, 204);
  });
}
