import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { WebhookSecret } from "../../../shared/contracts/webhook.ts";
import { newWebhookSecret } from "../../../shared/contracts/webhook-endpoint.ts";
import { AppError } from "../../../shared/errors.ts";
import { readEndpoint, rotateSecret as rotate } from "../../../shared/store/webhooks/endpoints.ts";
import { OwnerQuery } from "../../definitions/definition-request.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { audited } from "../../http/middleware/audited.ts";
import { jsonBody } from "../../http/middleware/json-body.ts";
import { needs } from "../../http/middleware/principal.ts";
import { EndpointParams, endpointTenantOf, sealForEndpoint } from "../../webhooks/endpoint-request.ts";
import { EndpointWithSecret, endpointOf, noEndpoint } from "../../webhooks/endpoint-view.ts";

const DAY_SECONDS = 86_400;

const Request = z
  .object({
    overlap_seconds: z
      .number()
      .int()
      .min(0)
      .max(30 * DAY_SECONDS)
      .default(DAY_SECONDS)
      .meta({ description: "How long the present secret signs too, after the rotation" }),
    secret: WebhookSecret.optional().meta({ description: "Absent: a new one is made" }),
  })
  .meta({ id: "RotateWebhookSecret" });

const route = createRoute({
  method: "post",
  path: "/api/v2/webhook-endpoints/{id}/rotate",
  operationId: "rotateWebhookSecret",
  tags: ["Webhooks"],
  summary: "Give a webhook endpoint a new secret",
  description:
    "For `overlap_seconds` both secrets sign: `webhook-signature` holds both signatures, and `X-Synapse-Signature` that of the " +
    "old secret. During an overlap a second rotation is a 409, because a secret that receivers still verify with would end: " +
    "when the response was lost, save the endpoint with a `secret`. `overlap_seconds: 0` ends every older secret at once, for " +
    "one that has leaked.",
  security: [{ key: ["admin"] }],
  middleware: [
    needs("admin"),
    jsonBody({ schema: Request, optional: true }),
    audited("rotateWebhookSecret"),
  ] as const,
  request: {
    params: EndpointParams,
    query: OwnerQuery,
    body: { content: { "application/json": { schema: Request } } },
  },
  responses: {
    200: json(EndpointWithSecret, "The endpoint, with its secret when this request made it"),
    ...problems(400, 404, 409, 413, 415),
  },
});

export function rotateSecret(api: Api): void {
  api.openapi(route, async (c) => {
    const { id } = c.req.valid("param");
    const { secret, overlap_seconds } = Request.parse(c.req.valid("json") ?? {});
    const tenant = endpointTenantOf(c, c.req.valid("query").tenant_id);
    const { sql, config } = c.get("services");
    const current = await readEndpoint(sql, tenant, id);
    if (!current) throw noEndpoint(tenant, id);
    const next = secret ?? newWebhookSecret();
    const row = await rotate(
      sql,
      tenant,
      id,
      await sealForEndpoint(next, tenant, id, config),
      overlap_seconds,
    );
    if (!row) {
      throw new AppError(
        "conflict",
        "The secret was rotated before, and the one before that still signs: wait until previous_secret_until, or rotate with overlap_seconds 0.",
      );
    }
    return c.json({ ...endpointOf(row), ...(secret === undefined && { secret: next }) }, 200);
  });
}
