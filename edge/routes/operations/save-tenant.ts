import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { TenantId } from "../../../shared/contracts/ids.ts";
import { TenantRequest } from "../../../shared/contracts/tenant.ts";
import { saveTenant as save } from "../../../shared/store/tenants/tenant-rows.ts";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { audited } from "../../http/middleware/audited.ts";
import { jsonBody } from "../../http/middleware/json-body.ts";
import { needsPlatform } from "../../http/middleware/principal.ts";
import { tenantIsDeleted } from "../../http/tenant-is-deleted.ts";
import { pushLimits } from "../../operations/tenant-change.ts";

const routeAt = (prefix: string) =>
  createRoute({
    method: "post",
    path: `${prefix}/tenants`,
    operationId: operationIdAt(prefix, "saveTenant"),
    tags: ["Operations"],
    summary: "Create a tenant, or change it",
    description:
      "Absent fields keep their value. A limit of 0, or `disabled`, keeps the tenant's runs from starting. Limits take " +
      "effect within 5 s. A tenant that was deleted is created anew.",
    security: [{ key: ["admin"] }],
    middleware: [needsPlatform("admin"), jsonBody({ schema: TenantRequest }), audited("saveTenant")] as const,
    request: {
      body: {
        required: true,
        content: { "application/json": { schema: TenantRequest.meta({ id: "TenantRequest" }) } },
      },
    },
    responses: {
      201: json(z.object({ status: z.literal("created"), tenant_id: TenantId }), "Saved"),
      ...problems(400, 409, 413, 415),
    },
  });

export const saveTenant = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const services = c.get("services");
    const request = c.req.valid("json");
    c.set("audit", { target: request.tenant_id, tenant: request.tenant_id });
    const tenant = await save(services.sql, request, services.config.RATE_LIMIT_PER_TENANT_RPS);
    if (!tenant) throw tenantIsDeleted();
    await pushLimits(services, tenant);
    return c.json({ status: "created" as const, tenant_id: tenant.tenant_id }, 201);
  });
};
