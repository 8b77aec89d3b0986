import { createRoute } from "@hono/zod-openapi";
import { newRunId } from "../../../shared/contracts/ids.ts";
import type { TenantId } from "../../../shared/contracts/ids.ts";
import { AppError } from "../../../shared/errors.ts";
import type { Sql } from "../../../shared/store/sql.ts";
import { readDelivery } from "../../../shared/store/webhooks/delivery-rows.ts";
import type { DeliveryRow } from "../../../shared/store/webhooks/delivery-rows.ts";
import { hasSender, insertTestDelivery, readEndpoint } from "../../../shared/store/webhooks/endpoints.ts";
import { WEBHOOK_PASS_MS, WEBHOOK_REQUEST_MS } from "../../../shared/timing.ts";
import { OwnerQuery } from "../../definitions/definition-request.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { audited } from "../../http/middleware/audited.ts";
import { needs } from "../../http/middleware/principal.ts";
import { Delivery, deliveryOf } from "../../operations/delivery-view.ts";
import { pause } from "../../http/pause.ts";
import { EndpointParams, endpointTenantOf } from "../../webhooks/endpoint-request.ts";
import { noEndpoint } from "../../webhooks/endpoint-view.ts";

/** A worker begins the test within one pass, and the receiver has the time of one request. The stores have the last 5 s. */
const WAIT_MS = WEBHOOK_PASS_MS + WEBHOOK_REQUEST_MS + 5_000;
const LOOK_EVERY_MS = 500;

const route = createRoute({
  method: "post",
  path: "/api/v2/webhook-endpoints/{id}/test",
  operationId: "testWebhookEndpoint",
  tags: ["Webhooks"],
  summary: "Send a test to a webhook endpoint",
  description:
    "A worker sends a signed message of the type `webhook.test`, once, also to an endpoint that is disabled. The response is " +
    "its delivery, with what the receiver said in `last_status` or `last_error`: `outcome` is `delivered` for 2xx, and " +
    "`expired` or `rejected` otherwise. It is `pending` when no worker has sent it for 20 seconds; the list of deliveries " +
    "has it later. Without a worker that sends webhooks it is a 503 `no_worker`. A test does not count among the endpoint's failures.",
  security: [{ key: ["admin"] }],
  middleware: [needs("admin"), audited("testWebhookEndpoint")] as const,
  request: { params: EndpointParams, query: OwnerQuery },
  responses: { 200: json(Delivery, "The delivery"), ...problems(404) },
});

export function testEndpoint(api: Api): void {
  api.openapi(route, async (c) => {
    const { id } = c.req.valid("param");
    const tenant = endpointTenantOf(c, c.req.valid("query").tenant_id);
    const { sql } = c.get("services");
    if (!(await readEndpoint(sql, tenant, id))) throw noEndpoint(tenant, id);
    if (!(await hasSender(sql))) {
      throw new AppError("no_worker", "No worker with the lane webhooks is online to send the test.");
    }
    const delivery = await insertTestDelivery(sql, tenant, id, newRunId(Date.now()));
    const row = delivery && (await whenDone(sql, tenant, delivery, c.req.raw.signal));
    if (!row) throw noEndpoint(tenant, id);
    return c.json(deliveryOf(row), 200);
  });
}

/** Waits until the delivery is done, for 20 s at most or until the caller leaves. Null: its tenant was deleted meanwhile. */
async function whenDone(
  sql: Sql,
  tenant: TenantId,
  id: string,
  caller: AbortSignal,
): Promise<DeliveryRow | null> {
  const signal = AbortSignal.any([caller, AbortSignal.timeout(WAIT_MS)]);
  for (;;) {
    const row = await readDelivery(sql, tenant, id);
    if (!row || row.outcome !== null || signal.aborted) return row;
    await pause(LOOK_EVERY_MS, signal);
  }
}
