import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { TenantId } from "../../../shared/contracts/ids.ts";
import { Tenant } from "../../../shared/contracts/tenant.ts";
import { findTenant } from "../../../shared/store/tenants/tenant-rows.ts";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs } from "../../http/middleware/principal.ts";
import { noTenant, requireOwnTenant } from "../../operations/tenant-change.ts";

const routeAt = (prefix: string) =>
  createRoute({
    method: "get",
    path: `${prefix}/tenants/{id}`,
    operationId: operationIdAt(prefix, "getTenant"),
    tags: ["Operations"],
    summary: "Read a tenant",
    description: "A tenant's key reads its own tenant.",
    security: [{ key: ["admin"] }],
    middleware: [needs("admin")] as const,
    request: { params: z.object({ id: TenantId }) },
    responses: { 200: json(Tenant, "The tenant"), ...problems(404) },
  });

export const getTenant = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const { id } = c.req.valid("param");
    requireOwnTenant(c.get("principal"), id);
    const tenant = await findTenant(c.get("services").sql, id);
    if (!tenant) throw noTenant();
    return c.json(tenant, 200);
  });
};
