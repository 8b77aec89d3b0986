import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { listTicks } from "../../../shared/store/schedules/schedule-rows.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs } from "../../http/middleware/principal.ts";
import {
  ScheduleDetails,
  TenantQuery,
  detailsOf,
  findSchedule,
  tenantOfQuery,
} from "../../schedules/schedule-view.ts";

/** The most ticks that are shown. The records of ticks are kept for a week. */
const RECENT = 50;

const route = createRoute({
  method: "get",
  path: "/api/v2/schedules/{id}",
  operationId: "getSchedule",
  tags: ["Schedules"],
  summary: "Read a schedule and what became of its last ticks",
  security: [{ key: ["runs:read"] }],
  middleware: [needs("runs:read")] as const,
  request: { params: z.object({ id: z.string() }), query: TenantQuery },
  responses: { 200: json(ScheduleDetails, "The schedule"), ...problems(404) },
});

export function getSchedule(api: Api): void {
  api.openapi(route, async (c) => {
    const services = c.get("services");
    const tenant = tenantOfQuery(c.get("principal"), c.req.valid("query").tenant_id, services);
    const schedule = await findSchedule(services.sql, tenant, c.req.valid("param").id);
    return c.json(detailsOf(schedule, await listTicks(services.sql, tenant, schedule.id, RECENT)), 200);
  });
}
