import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { listSchedules as list } from "../../../shared/store/schedules/schedule-rows.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs } from "../../http/middleware/principal.ts";
import { PageQuery, nextCursor } from "../../http/paging.ts";
import { ScheduleView, TenantQuery, tenantOfQuery, viewOfSchedule } from "../../schedules/schedule-view.ts";

const Schedules = z
  .object({ data: z.array(ScheduleView), next_cursor: z.string().nullable() })
  .meta({ id: "Schedules" });

const route = createRoute({
  method: "get",
  path: "/api/v2/schedules",
  operationId: "listSchedules",
  tags: ["Schedules"],
  summary: "List the schedules of a tenant",
  description: "Ordered by id.",
  security: [{ key: ["runs:read"] }],
  middleware: [needs("runs:read")] as const,
  request: { query: TenantQuery.extend(PageQuery.shape) },
  responses: { 200: json(Schedules, "The schedules"), ...problems() },
});

export function listSchedules(api: Api): void {
  api.openapi(route, async (c) => {
    const services = c.get("services");
    const { tenant_id, cursor, limit } = c.req.valid("query");
    const tenant = tenantOfQuery(c.get("principal"), tenant_id, services);
    const rows = await list(services.sql, tenant, cursor, limit);
    const next_cursor = nextCursor(rows, limit, (row) => row.id);
    return c.json({ data: rows.map(viewOfSchedule), next_cursor }, 200);
  });
}
