import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { newRunId } from "../../../shared/contracts/ids.ts";
import { runOfTick } from "../../../shared/schedules/ticks.ts";
import { insertTick, readNow } from "../../../shared/store/schedules/schedule-rows.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs } from "../../http/middleware/principal.ts";
import { refusedError } from "../../http/problem.ts";
import { cancelSuperseded } from "../../runs/cancel-superseded.ts";
import { RunAccepted, acceptedOf } from "../../runs/run-view.ts";
import { TenantQuery, findSchedule, tenantOfQuery } from "../../schedules/schedule-view.ts";

const route = createRoute({
  method: "post",
  path: "/api/v2/schedules/{id}/run",
  operationId: "runSchedule",
  tags: ["Schedules"],
  summary: "Start a run of a schedule now",
  description: "Also of a paused one. `overlap` holds as for a tick; the ticks stay as they are.",
  security: [{ key: ["runs:write"] }],
  middleware: [needs("runs:write")] as const,
  request: { params: z.object({ id: z.string() }), query: TenantQuery },
  responses: {
    202: json(RunAccepted, "Accepted, or skipped for a run that goes on"),
    ...problems(404, 409, 429),
  },
});

export function runSchedule(api: Api): void {
  api.openapi(route, async (c) => {
    const services = c.get("services");
    const { sql } = services;
    const tenant = tenantOfQuery(c.get("principal"), c.req.valid("query").tenant_id, services);
    const schedule = await findSchedule(sql, tenant, c.req.valid("param").id);
    const nowMs = await readNow(sql);
    const run_id = newRunId(nowMs);
    const ofTick = await runOfTick(schedule, nowMs);
    const run = { ...ofTick, run_id, correlation_id: run_id, triggered_by: "manual" as const };
    const result = await services.submit(run);
    if (result.is === "refused") throw refusedError(result);
    if (result.quota) c.set("quota", result.quota);
    if (!result.skipped) cancelSuperseded(services, run);
    const outcome = result.skipped ? ("skipped" as const) : ("started" as const);
    const tick = { tick_ms: nowMs, outcome, run_id: result.run_id, reason: "manual", until_ms: null };
    await insertTick(sql, tenant, schedule.id, tick);
    return c.json(acceptedOf(result.run_id, result.skipped), 202);
  });
}
