import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { DeliveryId } from "../../../shared/contracts/webhook.ts";
import { AppError } from "../../../shared/errors.ts";
import { readDelivery, redeliver as makeDue } from "../../../shared/store/webhooks/delivery-rows.ts";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { Delivery, deliveryOf } from "../../operations/delivery-view.ts";
import { audited } from "../../http/middleware/audited.ts";
import { needs } from "../../http/middleware/principal.ts";

const routeAt = (prefix: string) =>
  createRoute({
    method: "post",
    path: `${prefix}/webhooks/{id}/redeliver`,
    operationId: operationIdAt(prefix, "redeliverWebhook"),
    tags: ["Operations"],
    summary: "Send a delivery again",
    description:
      "The delivery is due at once, whatever its outcome, and is tried for another 24 hours: the same body under the " +
      "same `webhook-id`. A delivery to an endpoint goes to the endpoint's present URL, signed with its present secret.",
    security: [{ key: ["admin"] }],
    middleware: [needs("admin"), audited("redeliverWebhook")] as const,
    request: { params: z.object({ id: DeliveryId }) },
    responses: { 202: json(Delivery, "Due again"), ...problems(404, 409) },
  });

export const redeliver = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const { sql } = c.get("services");
    const { tenant } = c.get("principal");
    const { id } = c.req.valid("param");
    const row = await makeDue(sql, tenant, id);
    if (!row) throw (await readDelivery(sql, tenant, id)) ? endpointIsOff() : noDelivery();
    return c.json(deliveryOf(row), 202);
  });
};

const noDelivery = () => new AppError("not_found", "There is no such delivery.");
const endpointIsOff = () =>
  new AppError(
    "conflict",
    "The webhook endpoint of this delivery is disabled or was deleted: enable it, or create it again, first.",
  );
