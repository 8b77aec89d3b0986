import { createRoute } from "@hono/zod-openapi";
import { MAX_PER_TENANT } from "../../../shared/contracts/schedule.ts";
import { AppError } from "../../../shared/errors.ts";
import { insertTrigger } from "../../../shared/store/triggers/trigger-rows.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { jsonBody } from "../../http/middleware/json-body.ts";
import { needs } from "../../http/middleware/principal.ts";
import { requireTenant } from "../../http/require-tenant.ts";
import { tenantOfQuery } from "../../schedules/schedule-view.ts";
import {
  TriggerCreated,
  TriggerRequest,
  newSecret,
  newTriggerId,
  sealTriggerSecret,
  triggerOf,
  viewOfTrigger,
} from "../../triggers/trigger-view.ts";

const route = createRoute({
  method: "post",
  path: "/api/v2/triggers",
  operationId: "createTrigger",
  tags: ["Schedules"],
  summary: "Create a trigger",
  description:
    "A URL that starts a run for each request signed with the secret. This answer alone shows the secret.",
  security: [{ key: ["runs:write"] }],
  middleware: [needs("runs:write"), jsonBody({ schema: TriggerRequest })] as const,
  request: { body: { required: true, content: { "application/json": { schema: TriggerRequest } } } },
  responses: { 201: json(TriggerCreated, "The trigger"), ...problems(400, 404, 409, 413, 415) },
});

export function createTrigger(api: Api): void {
  api.openapi(route, async (c) => {
    const services = c.get("services");
    const body = c.req.valid("json");
    const tenant_id = tenantOfQuery(c.get("principal"), body.tenant_id ?? undefined, services);
    const secret = body.secret ?? newSecret();
    const name = { trigger_id: newTriggerId(), tenant_id };
    const trigger = await triggerOf(services, name, body);
    const sealed = await sealTriggerSecret(name.trigger_id, secret, services.config);
    await requireTenant(services, tenant_id);
    const saved = await insertTrigger(services.sql, trigger, sealed);
    if (!saved) throw new AppError("conflict", `A tenant may have ${MAX_PER_TENANT} triggers: delete one.`);
    return c.json({ ...viewOfTrigger(saved), secret }, 201);
  });
}
