import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { deleteSchedule as remove } from "../../../shared/store/schedules/schedule-rows.ts";
import { problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs } from "../../http/middleware/principal.ts";
import { TenantQuery, noSchedule, tenantOfQuery } from "../../schedules/schedule-view.ts";

const route = createRoute({
  method: "delete",
  path: "/api/v2/schedules/{id}",
  operationId: "deleteSchedule",
  tags: ["Schedules"],
  summary: "Delete a schedule",
  description: "Its runs go on.",
  security: [{ key: ["runs:write"] }],
  middleware: [needs("runs:write")] as const,
  request: { params: z.object({ id: z.string() }), query: TenantQuery },
  responses: { 204: { description: "Deleted" }, ...problems(404) },
});

export function deleteSchedule(api: Api): void {
  api.openapi(route, async (c) => {
    const services = c.get("services");
    const tenant = tenantOfQuery(c.get("principal"), c.req.valid("query").tenant_id, services);
    const { id } = c.req.valid("param");
    if (!(await remove(services.sql, tenant, id))) throw noSchedule(tenant, id);
    return c.body(null, 204);
  });
}
