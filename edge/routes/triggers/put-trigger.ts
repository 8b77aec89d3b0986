import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { updateTrigger } from "../../../shared/store/triggers/trigger-rows.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { jsonBody } from "../../http/middleware/json-body.ts";
import { needs } from "../../http/middleware/principal.ts";
import { tenantOfQuery } from "../../schedules/schedule-view.ts";
import {
  TriggerRequest,
  TriggerView,
  findTrigger,
  noTrigger,
  sealTriggerSecret,
  triggerOf,
  viewOfTrigger,
} from "../../triggers/trigger-view.ts";

/** What GET shows of a trigger beside the fields of a request. */
const READ_ONLY = ["id", "url", "created_at", "updated_at"];

const route = createRoute({
  method: "put",
  path: "/api/v2/triggers/{id}",
  operationId: "putTrigger",
  tags: ["Schedules"],
  summary: "Replace a trigger",
  description: "Its id and URL stay. With a `secret` the one before it is refused from then on.",
  security: [{ key: ["runs:write"] }],
  middleware: [needs("runs:write"), jsonBody({ schema: TriggerRequest, readOnly: READ_ONLY })] as const,
  request: {
    params: z.object({ id: z.string() }),
    body: { required: true, content: { "application/json": { schema: TriggerRequest } } },
  },
  responses: { 200: json(TriggerView, "The trigger"), ...problems(400, 404, 413, 415) },
});

export function putTrigger(api: Api): void {
  api.openapi(route, async (c) => {
    const services = c.get("services");
    const body = c.req.valid("json");
    const tenant = tenantOfQuery(c.get("principal"), body.tenant_id ?? undefined, services);
    const before = await findTrigger(services.sql, tenant, c.req.valid("param").id);
    const trigger = await triggerOf(services, before, body);
    const secret = body.secret ?? null;
    const sealed = secret && (await sealTriggerSecret(before.trigger_id, secret, services.config));
    const saved = await updateTrigger(services.sql, trigger, sealed);
    if (!saved) throw noTrigger(tenant);
    return c.json(viewOfTrigger(saved), 200);
  });
}
