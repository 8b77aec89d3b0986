import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { Tenant } from "../../../shared/contracts/tenant.ts";
import { listTenants as list } from "../../../shared/store/tenants/tenant-rows.ts";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needsPlatform } from "../../http/middleware/principal.ts";
import { PageQuery, linkNext, nextCursor } from "../../http/paging.ts";

const routeAt = (prefix: string) =>
  createRoute({
    method: "get",
    path: `${prefix}/tenants`,
    operationId: operationIdAt(prefix, "listTenants"),
    tags: ["Operations"],
    summary: "List tenants",
    description: "Ordered by id. The header `Link` has the next page.",
    security: [{ key: ["admin"] }],
    middleware: [needsPlatform("admin")] as const,
    request: { query: PageQuery },
    responses: { 200: json(z.array(Tenant), "The tenants"), ...problems() },
  });

export const listTenants = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const { cursor, limit } = c.req.valid("query");
    const tenants = await list(c.get("services").sql, cursor, limit);
    const next = nextCursor(tenants, limit, (tenant) => tenant.tenant_id);
    linkNext(c, next);
    return c.json(tenants, 200);
  });
};
