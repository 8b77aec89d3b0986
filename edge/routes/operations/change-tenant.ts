import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { TenantId } from "../../../shared/contracts/ids.ts";
import { Tenant, TenantChange } from "../../../shared/contracts/tenant.ts";
import { changeTenant as change, findTenant } from "../../../shared/store/tenants/tenant-rows.ts";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { audited } from "../../http/middleware/audited.ts";
import { jsonBody } from "../../http/middleware/json-body.ts";
import { needsPlatform } from "../../http/middleware/principal.ts";
import { tenantIsDeleted } from "../../http/tenant-is-deleted.ts";
import { noTenant, pushLimits } from "../../operations/tenant-change.ts";

const Request = TenantChange.meta({ id: "TenantChange" });

const routeAt = (prefix: string) =>
  createRoute({
    method: "patch",
    path: `${prefix}/tenants/{id}`,
    operationId: operationIdAt(prefix, "changeTenant"),
    tags: ["Operations"],
    summary: "Change a tenant",
    description:
      "Absent fields keep their value. While a tenant is `disabled` its runs do not start: new ones are refused (429 " +
      "`tenant_disabled`), queued ones wait, running ones go on. Takes effect within 5 s.",
    security: [{ key: ["admin"] }],
    middleware: [
      needsPlatform("admin"),
      jsonBody({ schema: TenantChange }),
      audited("changeTenant"),
    ] as const,
    request: {
      params: z.object({ id: TenantId }),
      body: { required: true, content: { "application/json": { schema: Request } } },
    },
    responses: { 200: json(Tenant, "The changed tenant"), ...problems(400, 404, 409, 413, 415) },
  });

export const changeTenant = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const services = c.get("services");
    const { id } = c.req.valid("param");
    c.set("audit", { target: id, tenant: id });
    const tenant = await change(services.sql, id, c.req.valid("json"));
    if (!tenant) throw (await findTenant(services.sql, id)) ? tenantIsDeleted() : noTenant();
    await pushLimits(services, tenant);
    return c.json(tenant, 200);
  });
};
