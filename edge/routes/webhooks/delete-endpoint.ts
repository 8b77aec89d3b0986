import { createRoute } from "@hono/zod-openapi";
import { deleteEndpoint as remove } from "../../../shared/store/webhooks/endpoints.ts";
import { OwnerQuery } from "../../definitions/definition-request.ts";
import { problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { audited } from "../../http/middleware/audited.ts";
import { needs } from "../../http/middleware/principal.ts";
import { EndpointParams, endpointTenantOf } from "../../webhooks/endpoint-request.ts";
import { noEndpoint } from "../../webhooks/endpoint-view.ts";

const route = createRoute({
  method: "delete",
  path: "/api/v2/webhook-endpoints/{id}",
  operationId: "deleteWebhookEndpoint",
  tags: ["Webhooks"],
  summary: "Delete a webhook endpoint",
  description: "Its pending deliveries are not sent: when they are due they are closed as `rejected`.",
  security: [{ key: ["admin"] }],
  middleware: [needs("admin"), audited("deleteWebhookEndpoint")] as const,
  request: { params: EndpointParams, query: OwnerQuery },
  responses: { 204: { description: "Deleted" }, ...problems(404) },
});

export function deleteEndpoint(api: Api): void {
  api.openapi(route, async (c) => {
    const { id } = c.req.valid("param");
    const tenant = endpointTenantOf(c, c.req.valid("query").tenant_id);
    if (!(await remove(c.get("services").sql, tenant, id))) throw noEndpoint(tenant, id);
    return c.body(null, 204);
  });
}
