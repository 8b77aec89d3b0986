import { createRoute } from "@hono/zod-openapi";
import { readEndpoint } from "../../../shared/store/webhooks/endpoints.ts";
import { OwnerQuery } from "../../definitions/definition-request.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs } from "../../http/middleware/principal.ts";
import { EndpointParams, endpointTenantOf } from "../../webhooks/endpoint-request.ts";
import { Endpoint, endpointOf, noEndpoint } from "../../webhooks/endpoint-view.ts";

const route = createRoute({
  method: "get",
  path: "/api/v2/webhook-endpoints/{id}",
  operationId: "getWebhookEndpoint",
  tags: ["Webhooks"],
  summary: "Read a webhook endpoint",
  description: "Its secrets are not shown.",
  security: [{ key: ["admin"] }],
  middleware: [needs("admin")] as const,
  request: { params: EndpointParams, query: OwnerQuery },
  responses: { 200: json(Endpoint, "The endpoint"), ...problems(404) },
});

export function getEndpoint(api: Api): void {
  api.openapi(route, async (c) => {
    const { id } = c.req.valid("param");
    const tenant = endpointTenantOf(c, c.req.valid("query").tenant_id);
    const row = await readEndpoint(c.get("services").sql, tenant, id);
    if (!row) throw noEndpoint(tenant, id);
    return c.json(endpointOf(row), 200);
  });
}
