import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { DefinitionId } from "../../../shared/contracts/ids.ts";
import { MAX_PER_TENANT } from "../../../shared/contracts/schedule.ts";
import { AppError } from "../../../shared/errors.ts";
import { readOrchestration } from "../../../shared/store/definitions/orchestrations.ts";
import { readNow, saveSchedule } from "../../../shared/store/schedules/schedule-rows.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { jsonBody } from "../../http/middleware/json-body.ts";
import { needs } from "../../http/middleware/principal.ts";
import { requireTenant } from "../../http/require-tenant.ts";
import { templateOf } from "../../schedules/run-template.ts";
import {
  ScheduleRequest,
  ScheduleView,
  nextTickOf,
  tenantOfQuery,
  viewOfSchedule,
} from "../../schedules/schedule-view.ts";

/** What GET shows of a schedule beside the fields of a request. */
const READ_ONLY = ["id", "next_at", "refused", "recent", "created_at", "updated_at"];

const route = createRoute({
  method: "put",
  path: "/api/v2/schedules/{id}",
  operationId: "putSchedule",
  tags: ["Schedules"],
  summary: "Create or replace a schedule",
  description:
    "A tick in an hour that is skipped when clocks are set forward fires once, at the first moment after that hour. A tick in " +
    "an hour that comes twice fires once if the expression fires once a day or less, else at each passing. If both day " +
    "fields are given, either one is enough. `state.schedule` of each run has the id and the time of the tick. " +
    "A request with the same `cron` and `timezone` keeps a tick that is due. Fields that only GET has are ignored.",
  security: [{ key: ["runs:write"] }],
  middleware: [needs("runs:write"), jsonBody({ schema: ScheduleRequest, readOnly: READ_ONLY })] as const,
  request: {
    params: z.object({ id: DefinitionId }),
    body: { required: true, content: { "application/json": { schema: ScheduleRequest } } },
  },
  responses: { 200: json(ScheduleView, "The schedule"), ...problems(400, 404, 409, 413, 415) },
});

export function putSchedule(api: Api): void {
  api.openapi(route, async (c) => {
    const services = c.get("services");
    const { sql, config } = services;
    const { tenant_id: named, ...body } = c.req.valid("json");
    const tenant_id = tenantOfQuery(c.get("principal"), named ?? undefined, services);
    const { orchestration_id, cron, timezone, jitter_seconds, overlap, catch_up, paused, ...fields } = body;
    const timing = { tenant_id, id: c.req.valid("param").id, cron, timezone, jitter_seconds };
    const next = nextTickOf(timing, await readNow(sql));
    const request = JSON.stringify(await templateOf(fields, config));
    if ((await readOrchestration(sql, tenant_id, orchestration_id)) === null) {
      throw new AppError("not_found", `There is no orchestration ${orchestration_id}.`);
    }
    await requireTenant(services, tenant_id);
    const schedule = { ...timing, orchestration_id, overlap, catch_up, paused, request };
    const saved = await saveSchedule(sql, schedule, paused ? null : next);
    if (!saved) throw new AppError("conflict", `A tenant may have ${MAX_PER_TENANT} schedules: delete one.`);
    return c.json(viewOfSchedule(saved), 200);
  });
}
