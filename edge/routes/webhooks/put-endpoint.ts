import { createRoute } from "@hono/zod-openapi";
import {
  EndpointRequest,
  MAX_ENDPOINTS,
  newWebhookSecret,
} from "../../../shared/contracts/webhook-endpoint.ts";
import { AppError, invalidField } from "../../../shared/errors.ts";
import { saveEndpoint } from "../../../shared/store/webhooks/endpoints.ts";
import { OwnerQuery } from "../../definitions/definition-request.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { audited } from "../../http/middleware/audited.ts";
import { jsonBody } from "../../http/middleware/json-body.ts";
import { outboundUrl } from "../../http/outbound-url.ts";
import { needs } from "../../http/middleware/principal.ts";
import { requireTenant } from "../../http/require-tenant.ts";
import { EndpointParams, endpointTenantOf, sealForEndpoint } from "../../webhooks/endpoint-request.ts";
import { EndpointWithSecret, endpointOf } from "../../webhooks/endpoint-view.ts";

/** What GET shows of an endpoint beside the fields of a request. */
const READ_ONLY = [
  "id",
  "failing_since",
  "disabled_at",
  "disabled_reason",
  "previous_secret_until",
  "created_at",
  "updated_at",
];

const route = createRoute({
  method: "put",
  path: "/api/v2/webhook-endpoints/{id}",
  operationId: "putWebhookEndpoint",
  tags: ["Webhooks"],
  summary: "Create a webhook endpoint, or replace it",
  description:
    "Every run and every chat turn of the tenant whose end or pause is in `events` is sent to each of its enabled endpoints, " +
    "besides to the `webhook_url` of the run. Without a `secret` a new endpoint gets one, which this response alone shows; " +
    "when that response was lost, rotate it. A `secret` for an endpoint that has one takes its place at once. Another `url` " +
    `also gets the deliveries that are pending. A tenant has ${MAX_ENDPOINTS} endpoints. Fields that only GET has are ignored.`,
  security: [{ key: ["admin"] }],
  middleware: [
    needs("admin"),
    jsonBody({ schema: EndpointRequest, readOnly: READ_ONLY }),
    audited("putWebhookEndpoint"),
  ] as const,
  request: {
    params: EndpointParams,
    query: OwnerQuery,
    body: { required: true, content: { "application/json": { schema: EndpointRequest } } },
  },
  responses: {
    200: json(EndpointWithSecret, "Replaced"),
    201: json(EndpointWithSecret, "Created"),
    ...problems(400, 404, 409, 413, 415),
  },
});

export function putEndpoint(api: Api): void {
  api.openapi(route, async (c) => {
    const { id } = c.req.valid("param");
    const { tenant_id, url, secret, enabled = null, ...rest } = c.req.valid("json");
    const { tenant_id: named = tenant_id } = c.req.valid("query");
    if (tenant_id !== undefined && tenant_id !== named) {
      throw invalidField("tenant_id", `is not that of the query, ${named}: send one of them`);
    }
    const tenant = endpointTenantOf(c, named);
    const services = c.get("services");
    const { sql, config } = services;
    const made = newWebhookSecret();
    const sealed = await sealForEndpoint(secret ?? made, tenant, id, config);
    const target = outboundUrl(url, "url", config);
    await requireTenant(services, tenant);
    const saved = await saveEndpoint(sql, tenant, id, {
      ...rest,
      url: target,
      enabled,
      secret: secret === undefined ? null : sealed,
      new_secret: sealed,
    });
    if (!saved) {
      throw new AppError(
        "conflict",
        `The tenant has ${MAX_ENDPOINTS} webhook endpoints, which is the most: delete one first.`,
      );
    }
    const shown = saved.created && secret === undefined ? { secret: made } : {};
    return c.json({ ...endpointOf(saved.row), ...shown }, saved.created ? 201 : 200);
  });
}
