import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { AppError } from "../../../shared/errors.ts";
import { readNow, setPaused } from "../../../shared/store/schedules/schedule-rows.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs } from "../../http/middleware/principal.ts";
import {
  ScheduleView,
  TenantQuery,
  findSchedule,
  nextTickOf,
  tenantOfQuery,
  viewOfSchedule,
} from "../../schedules/schedule-view.ts";

const routeOf = (verb: "pause" | "resume") =>
  createRoute({
    method: "post",
    path: `/api/v2/schedules/{id}/${verb}`,
    operationId: `${verb}Schedule`,
    tags: ["Schedules"],
    summary: verb === "pause" ? "Pause a schedule" : "Let a schedule go on",
    description:
      verb === "pause"
        ? "No tick starts until it is resumed. Runs that have started go on."
        : "From the next tick after now: ticks during a pause are not caught up.",
    security: [{ key: ["runs:write"] }],
    middleware: [needs("runs:write")] as const,
    request: { params: z.object({ id: z.string() }), query: TenantQuery },
    responses: { 200: json(ScheduleView, "The schedule"), ...problems(404, 409) },
  });

export const pauseSchedule = (verb: "pause" | "resume") => (api: Api) => {
  api.openapi(routeOf(verb), async (c) => {
    const services = c.get("services");
    const { sql } = services;
    const tenant = tenantOfQuery(c.get("principal"), c.req.valid("query").tenant_id, services);
    const schedule = await findSchedule(sql, tenant, c.req.valid("param").id);
    if (schedule.paused === (verb === "pause")) return c.json(viewOfSchedule(schedule), 200);
    const next = verb === "pause" ? null : nextTickOf(schedule, await readNow(sql));
    const saved = await setPaused(sql, schedule, next);
    if (!saved) throw new AppError("conflict", "The schedule was changed by another request; try again.");
    return c.json(viewOfSchedule(saved), 200);
  });
};
