import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { RunId, TenantId } from "../../../shared/contracts/ids.ts";
import { DeliveryId, DeliveryOutcome, DeliveryType, EndpointId } from "../../../shared/contracts/webhook.ts";
import { invalidField } from "../../../shared/errors.ts";
import { listDeliveries as list } from "../../../shared/store/webhooks/delivery-rows.ts";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { Delivery, deliveryOf } from "../../operations/delivery-view.ts";
import { needs, tenantFilterOf } from "../../http/middleware/principal.ts";
import { PageQuery, linkNext, nextCursor, readCursor } from "../../http/paging.ts";

const Selection = z.object({
  tenant_id: TenantId.optional(),
  run_id: RunId.optional(),
  outcome: z.enum([...DeliveryOutcome.options, "pending"]).optional(),
  type: DeliveryType.optional().meta({ description: "Deliveries about chat turns have the type of a run" }),
  endpoint_id: EndpointId.optional().meta({
    description: "Of one tenant: a platform key names `tenant_id` too",
  }),
});

const routeAt = (prefix: string) =>
  createRoute({
    method: "get",
    path: `${prefix}/webhooks`,
    operationId: operationIdAt(prefix, "listDeliveries"),
    tags: ["Operations"],
    summary: "List webhook deliveries",
    description:
      "The messages about the ends and pauses of runs, and the tests of endpoints, sent or pending, the newest first. The header `Link` has the " +
      "next page. A tenant's key gets only its tenant's deliveries.",
    security: [{ key: ["admin"] }],
    middleware: [needs("admin")] as const,
    request: { query: PageQuery.extend(Selection.shape) },
    responses: { 200: json(z.array(Delivery), "The deliveries"), ...problems(400) },
  });

export const listDeliveries = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const { cursor, limit, tenant_id, run_id = null, outcome = null, ...more } = c.req.valid("query");
    const tenant = tenantFilterOf(c.get("principal"), tenant_id);
    const { type = null, endpoint_id: endpoint = null } = more;
    if (endpoint !== null && tenant === null) {
      throw invalidField("endpoint_id", "is the id of a tenant's endpoint: name the tenant in tenant_id");
    }
    const rows = await list(
      c.get("services").sql,
      { tenant, run: run_id, outcome, type, endpoint },
      readCursor(DeliveryId, cursor),
      limit,
    );
    const deliveries = rows.map(deliveryOf);
    const next = nextCursor(deliveries, limit, ({ id }) => id);
    linkNext(c, next);
    return c.json(deliveries, 200);
  });
};
