import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { listEndpoints as list } from "../../../shared/store/webhooks/endpoints.ts";
import { OwnerQuery } from "../../definitions/definition-request.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs } from "../../http/middleware/principal.ts";
import { PageQuery, linkNext, nextCursor } from "../../http/paging.ts";
import { endpointTenantOf } from "../../webhooks/endpoint-request.ts";
import { Endpoint, endpointOf } from "../../webhooks/endpoint-view.ts";

const route = createRoute({
  method: "get",
  path: "/api/v2/webhook-endpoints",
  operationId: "listWebhookEndpoints",
  tags: ["Webhooks"],
  summary: "List the webhook endpoints of a tenant",
  description:
    "Ordered by id, also those that are disabled, with the reason. The header `Link` has the next page.",
  security: [{ key: ["admin"] }],
  middleware: [needs("admin")] as const,
  request: { query: OwnerQuery.extend(PageQuery.shape) },
  responses: { 200: json(z.array(Endpoint), "The endpoints"), ...problems() },
});

export function listEndpoints(api: Api): void {
  api.openapi(route, async (c) => {
    const { tenant_id, cursor, limit } = c.req.valid("query");
    const rows = await list(c.get("services").sql, endpointTenantOf(c, tenant_id), cursor, limit);
    const endpoints = rows.map(endpointOf);
    const next = nextCursor(endpoints, limit, ({ id }) => id);
    linkNext(c, next);
    return c.json(endpoints, 200);
  });
}
