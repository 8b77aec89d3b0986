import { createRoute } from "@hono/zod-openapi";
import { enableEndpoint as enable } from "../../../shared/store/webhooks/endpoints.ts";
import { OwnerQuery } from "../../definitions/definition-request.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { audited } from "../../http/middleware/audited.ts";
import { needs } from "../../http/middleware/principal.ts";
import { EndpointParams, endpointTenantOf } from "../../webhooks/endpoint-request.ts";
import { Endpoint, endpointOf, noEndpoint } from "../../webhooks/endpoint-view.ts";

const route = createRoute({
  method: "post",
  path: "/api/v2/webhook-endpoints/{id}/enable",
  operationId: "enableWebhookEndpoint",
  tags: ["Webhooks"],
  summary: "Enable a webhook endpoint",
  description:
    "What happens from now on is sent to it, and its failures are counted anew. What happened while it was disabled has no " +
    "delivery; deliveries that were closed meanwhile can be sent again.",
  security: [{ key: ["admin"] }],
  middleware: [needs("admin"), audited("enableWebhookEndpoint")] as const,
  request: { params: EndpointParams, query: OwnerQuery },
  responses: { 200: json(Endpoint, "The endpoint"), ...problems(404) },
});

export function enableEndpoint(api: Api): void {
  api.openapi(route, async (c) => {
    const { id } = c.req.valid("param");
    const tenant = endpointTenantOf(c, c.req.valid("query").tenant_id);
    const row = await enable(c.get("services").sql, tenant, id);
    if (!row) throw noEndpoint(tenant, id);
    return c.json(endpointOf(row), 200);
  });
}
