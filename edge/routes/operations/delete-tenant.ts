import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { TenantId } from "../../../shared/contracts/ids.ts";
import { requestTenantDeletion } from "../../../shared/store/tenants/tenant-rows.ts";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { audited } from "../../http/middleware/audited.ts";
import { needsPlatform } from "../../http/middleware/principal.ts";
import { noTenant, pushLimits } from "../../operations/tenant-change.ts";

const routeAt = (prefix: string) =>
  createRoute({
    method: "delete",
    path: `${prefix}/tenants/{id}`,
    operationId: operationIdAt(prefix, "deleteTenant"),
    tags: ["Operations"],
    summary: "Delete a tenant and all that belongs to it",
    description:
      "At once the tenant is disabled and its keys are revoked. Its runs (running ones are stopped), definitions, keys, " +
      "webhook endpoints, deliveries, charges and artifacts are deleted in the background, which begins within five minutes; until then " +
      "`GET` shows `deleting`. Its id is not created by a run that names it; `POST …/tenants` creates it anew.",
    security: [{ key: ["admin"] }],
    middleware: [needsPlatform("admin"), audited("deleteTenant")] as const,
    request: { params: z.object({ id: TenantId }) },
    responses: {
      200: json(z.object({ status: z.literal("deleted"), tenant_id: TenantId }), "Being deleted"),
      ...problems(404),
    },
  });

export const deleteTenant = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const services = c.get("services");
    const { id } = c.req.valid("param");
    c.set("audit", { target: id, tenant: id });
    const tenant = await requestTenantDeletion(services.sql, id);
    if (!tenant) throw noTenant();
    await pushLimits(services, tenant);
    return c.json({ status: "deleted" as const, tenant_id: id }, 200);
  });
};
