import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { TenantId } from "../../../shared/contracts/ids.ts";
import { TenantRequest } from "../../../shared/contracts/tenant.ts";
import { limitsOf } from "../../../shared/store/tenants/tenant-limits.ts";
import { saveTenant as save } from "../../../shared/store/tenants/tenant-rows.ts";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { log } from "../../../shared/log.ts";
import { jsonBody } from "../../http/middleware/json-body.ts";
import { needsPlatform } from "../../http/middleware/principal.ts";

const routeAt = (prefix: string) =>
  createRoute({
    method: "post",
    path: `${prefix}/tenants`,
    operationId: operationIdAt(prefix, "saveTenant"),
    tags: ["Operations"],
    summary: "Create a tenant, or change its limits",
    description: "Absent fields keep their value. A limit of 0 disables. Limits take effect within 5 s.",
    security: [{ key: ["admin"] }],
    middleware: [needsPlatform("admin"), jsonBody({ schema: TenantRequest })] as const,
    request: {
      body: {
        required: true,
        content: { "application/json": { schema: TenantRequest.meta({ id: "TenantRequest" }) } },
      },
    },
    responses: {
      201: json(z.object({ status: z.literal("created"), tenant_id: TenantId }), "Saved"),
      ...problems(400, 413, 415, 422),
    },
  });

export const saveTenant = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const { sql, queue, config } = c.get("services");
    const tenant = await save(sql, c.req.valid("json"), config.RATE_LIMIT_PER_TENANT_RPS);
    try {
      // After the commit, so that the queue never has limits that Postgres does not have.
      await queue.pushLimits([limitsOf(tenant, config.ENABLE_TENANT_ISOLATION)]);
    } catch {
      // The limits are saved; the reconciler pushes them when the queue is reachable again.
      log.info("tenant.limits_not_pushed", { tenant: tenant.tenant_id });
    }
    return c.json({ status: "created" as const, tenant_id: tenant.tenant_id }, 201);
  });
};
